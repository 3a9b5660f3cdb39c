"""The strict JSON reader: what it takes comes back the same, what it refuses is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.contract.schema import dump, parse


@dataclass(frozen=True)
class Leaf:
    """A part."""

    name: str
    ratio: float
    clamp: float | None


@dataclass(frozen=True)
class Tree:
    """A whole with one of every kind of value."""

    count: int
    on: bool
    leaf: Leaf
    leaves: Mapping[str, Leaf]
    axes: tuple[tuple[str, int], ...]
    pair: tuple[int, int]
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class Grown:
    """A part that got a key more."""

    name: str
    share: float = 0.25
    note: str | None = None


finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(Leaf, name=st.text(), ratio=finite, clamp=st.none() | finite)
trees = st.builds(
    Tree,
    count=st.integers(),
    on=st.booleans(),
    leaf=leaves,
    leaves=st.dictionaries(st.text(), leaves),
    axes=st.lists(st.tuples(st.text(), st.integers())).map(tuple),
    pair=st.tuples(st.integers(), st.integers()),
    extra=st.dictionaries(st.text(), st.none() | st.integers() | st.text()),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def leaf(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "ratio": 0.5, "clamp": None, **changes}


@given(trees)
def test_whatever_is_dumped_is_parsed_back_the_same(tree: Tree) -> None:
    assert parse(Tree, json.loads(json.dumps(dump(tree))), where="tree") == tree


@given(json_values)
def test_any_json_gives_a_value_or_a_value_error(data: Any) -> None:
    try:
        parse(Tree, data, where="tree")
    except ValueError as error:
        assert str(error).startswith("tree")


@given(json_values)
def test_any_json_in_the_place_of_a_part_gives_a_value_or_an_error_naming_the_place(
    data: Any,
) -> None:
    try:
        parse(Leaf, leaf(ratio=data), where="leaf")
    except ValueError as error:
        assert str(error).startswith("leaf.ratio: wanted")


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^leaf: unknown key 'nmae'; known: name, ratio, clamp$"):
        parse(Leaf, {"nmae": "a", "ratio": 1.0, "clamp": None}, where="leaf")


def test_a_missing_key_is_refused_even_where_it_may_be_null() -> None:
    with pytest.raises(ValueError, match=r"^leaf: missing key 'clamp'$"):
        parse(Leaf, {"name": "a", "ratio": 1.0}, where="leaf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, r"leaf\.name: wanted a str, found '3'"),
        ({"ratio": "half"}, r"leaf\.ratio: wanted a float, found 'half'"),
        ({"ratio": True}, r"leaf\.ratio: wanted a float, found 'True'"),
        ({"ratio": None}, r"leaf\.ratio: wanted a float, found 'None'"),
        ({"ratio": float("nan")}, r"leaf\.ratio: wanted a finite float, found 'nan'"),
        ({"ratio": 10**400}, r"leaf\.ratio: wanted a finite float"),
        ({"clamp": []}, r"leaf\.clamp: wanted a float, found '\[\]'"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(Leaf, leaf(**changes), where="leaf")


def test_a_flag_is_no_number_and_a_number_no_flag() -> None:
    with pytest.raises(ValueError, match="a int"):
        parse(tuple[int, ...], [True], where="list")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a bool"):
        parse(tuple[bool, ...], [1], where="list")  # type: ignore[arg-type]


def test_a_tuple_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^pair: wanted 2 items"):
        parse(tuple[int, int], [1, 2, 3], where="pair")  # type: ignore[arg-type]


def test_a_whole_number_serves_as_a_float() -> None:
    found = parse(Leaf, leaf(ratio=2), where="leaf").ratio
    assert isinstance(found, float)
    assert found == 2.0


def test_a_key_with_a_default_may_be_missing() -> None:
    assert parse(Grown, {"name": "a"}, where="grown") == Grown("a", 0.25, None)
    assert parse(Grown, {"name": "a", "share": 1}, where="grown") == Grown("a", 1.0, None)


@given(st.builds(Grown, name=st.text(), share=finite, note=st.none() | st.text()))
def test_a_part_with_defaults_is_dumped_whole_and_parsed_back(grown: Grown) -> None:
    assert dump(grown).keys() == {"name", "share", "note"}
    assert parse(Grown, json.loads(json.dumps(dump(grown))), where="grown") == grown


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"share": 0.5}, r"^grown: missing key 'name'$"),
        ({"name": "a", "share": None}, r"grown\.share: wanted a float, found 'None'"),
        ({"name": "a", "share": "half"}, r"grown\.share: wanted a float"),
        ({"name": "a", "shared": 0.5}, r"^grown: unknown key 'shared'; known: name, share, note$"),
    ],
)
def test_a_default_excuses_no_wrong_key_or_value(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(Grown, data, where="grown")


@dataclass(frozen=True)
class Gathered:
    name: str
    more: Mapping[str, int] = field(default_factory=dict)


def test_a_key_may_be_missing_where_its_field_makes_a_default_of_its_own() -> None:
    assert parse(Gathered, {"name": "a"}, where="gathered") == Gathered("a", {})
    assert parse(Gathered, {"name": "a", "more": {"b": 1}}, where="gathered").more == {"b": 1}
    with pytest.raises(ValueError, match="gathered: missing key 'name'"):
        parse(Gathered, {"more": {}}, where="gathered")
