"""A finding in a line: the rule, the place, whose rule it is, and what to do."""

from __future__ import annotations

from echoexport.calibration.lint.finding import Finding


def test_a_finding_says_rule_place_and_detail() -> None:
    assert str(Finding("dtype", "conv_1", "float64 in a float32 graph")) == (
        "dtype: conv_1: float64 in a float32 graph"
    )


def test_a_finding_of_a_library_names_it_and_the_fix_comes_last() -> None:
    found = Finding("cast", "n1", "to int8", library="TensorRT 10.3", fix="leave it out")
    assert str(found) == "cast: n1: to int8 (TensorRT 10.3); fix: leave it out"
