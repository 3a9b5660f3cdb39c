"""The walk through a graph: in order, each value once, and within what an engine can hold."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from fixtures.graph_bytes import WrittenGraph, write_constant, write_node, write_value

from echoexport.runtime.bundle.judging import shapes
from echoexport.runtime.errors import BundleError

Judge = Callable[..., None]


def test_a_node_reads_what_is_there_already(graph: WrittenGraph, judge: Judge) -> None:
    graph.nodes.reverse()
    with pytest.raises(BundleError, match=r"'product' \(Add\) reads 'between', which nothing"):
        judge(graph)


def test_a_value_is_given_once(graph: WrittenGraph, judge: Judge) -> None:
    graph.nodes.insert(1, write_node("Sigmoid", ["noise"], ["between"]))
    with pytest.raises(BundleError, match="gives 'between', which is there already"):
        judge(graph)


def test_a_node_cannot_give_what_is_an_input_or_a_constant(
    graph: WrittenGraph, judge: Judge
) -> None:
    graph.nodes.insert(1, write_node("Sigmoid", ["noise"], ["weight"]))
    with pytest.raises(BundleError, match="gives 'weight', which is there already"):
        judge(graph)


def test_shapes_that_do_not_fit_are_told_with_the_node(graph: WrittenGraph, judge: Judge) -> None:
    graph.nodes[0] = write_node("MatMul", ["weight", "noise"], ["between"])
    with pytest.raises(BundleError, match=r"'between' \(MatMul\) does not take .* 4x8, 2x4"):
        judge(graph)


def test_a_value_that_no_engine_can_hold_is_refused(graph: WrittenGraph, judge: Judge) -> None:
    graph.tensors.append(write_constant("pads", [0, 0, 0, 1 << 36], shape=[4]))
    graph.nodes.insert(1, write_node("Pad", ["between", "pads"], ["wide"]))
    with pytest.raises(BundleError, match=r"'wide' \(Pad\) gives a value of 2x68719476744 numbers"):
        judge(graph)


def test_an_empty_value_is_refused(graph: WrittenGraph, judge: Judge) -> None:
    for name, value in {"starts": 3, "ends": 3, "axes": 1}.items():
        graph.tensors.append(write_constant(name, [value], shape=[1]))
    graph.nodes.insert(1, write_node("Slice", ["between", "starts", "ends", "axes"], ["none"]))
    with pytest.raises(BundleError, match="gives a value of 2x0 numbers"):
        judge(graph)


@pytest.mark.parametrize("limit", ["MOST_VALUES", "MOST_PRODUCTS"])
def test_what_a_call_computes_in_all_is_bounded(
    graph: WrittenGraph, judge: Judge, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(shapes, limit, {"MOST_VALUES": 32, "MOST_PRODUCTS": 64}[limit])
    judge(graph)
    monkeypatch.setattr(shapes, limit, {"MOST_VALUES": 31, "MOST_PRODUCTS": 63}[limit])
    with pytest.raises(BundleError, match="computes more than any of ours"):
        judge(graph)


def test_values_that_nobody_wants_have_no_name(graph: WrittenGraph, judge: Judge) -> None:
    graph.nodes[0] = write_node("MatMul", ["noise", "weight"], ["between", ""])
    with pytest.raises(BundleError, match="has 2 outputs"):
        judge(graph)
    graph.nodes[0] = write_node("MatMul", ["noise", ""], ["between"])
    graph.values = [write_value("between", [2, 8])]
    with pytest.raises(BundleError, match="lacks an input"):
        judge(graph)


@pytest.mark.parametrize(("count", "passes"), [(shapes.LONGEST_RUN, True), (65, False)])
def test_operators_that_take_numbers_one_by_one_do_not_follow_each_other_for_ever(
    graph: WrittenGraph, judge: Judge, count: int, passes: bool
) -> None:
    names = ["between", *(f"step.{place}" for place in range(count))]
    for before, after in pairwise(names):
        graph.nodes.insert(-1, write_node("Sigmoid", [before], [after]))
    if passes:
        judge(graph)
    else:
        with pytest.raises(BundleError, match=r"\(Sigmoid\) is one of 65 such operators in a row"):
            judge(graph)
