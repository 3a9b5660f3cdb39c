"""The lists of operators: which are whose."""

from __future__ import annotations

from echoexport.runtime.backends import list_backends
from echoexport.runtime.contract.operators import OWN_OPERATORS, PLAIN_OPERATORS


def test_own_operators_are_of_backends_that_there_are_and_none_is_a_plain_one() -> None:
    assert set(OWN_OPERATORS) <= set(list_backends())
    for domains in OWN_OPERATORS.values():
        assert not domains.get("", {}).keys() & PLAIN_OPERATORS.keys()


def test_no_operator_runs_a_graph_of_its_own_or_makes_a_value_of_any_size() -> None:
    made = {"ConstantOfShape", "If", "Loop", "Range", "Scan", "SequenceMap", "Tile"}
    listed = {name for own in OWN_OPERATORS.values() for names in own.values() for name in names}
    assert not made & (listed | PLAIN_OPERATORS.keys())


def test_an_operator_must_have_no_more_than_it_may() -> None:
    for name, form in PLAIN_OPERATORS.items():
        assert 1 <= form.least <= form.most, name
