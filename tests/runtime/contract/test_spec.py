"""The contract of a network: shapes, what is stored and computed, tolerances."""

from __future__ import annotations

from echoexport.runtime.contract.spec import describe_arithmetic


def test_arithmetic_is_told_in_one_phrase() -> None:
    assert describe_arithmetic({"a": "bf16", "b": "bf16"}) == "bf16"
    assert (
        describe_arithmetic({"a": "int8", "b": "bf16", "c": "int8"})
        == "mixed: bf16 (b), int8 (a, c)"
    )
