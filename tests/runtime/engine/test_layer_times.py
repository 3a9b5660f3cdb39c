"""How long layers took: medians of the calls, and names split at the nodes they are made of."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.engine.layer_times import (
    LayerClock,
    LayerRecord,
    make_trt_profiler,
    split_trt_name,
)

MILLISECONDS = st.floats(0.001, 1e6)


def test_nothing_was_timed_before_the_first_call() -> None:
    assert (LayerClock().medians(), LayerClock().read_layers()) == ({}, ())


@given(st.lists(MILLISECONDS, min_size=2, max_size=9))
def test_a_layer_takes_the_median_of_its_calls_but_for_the_first(calls: list[float]) -> None:
    clock = LayerClock()
    for ms in calls:
        clock.report_layer_time("conv", ms)
    wanted = statistics.median(calls[1:]) / 1e3
    assert clock.medians()["conv"] == pytest.approx(wanted, rel=1e-12)


def test_layers_stand_in_the_order_in_which_they_were_first_told() -> None:
    clock = LayerClock()
    for name in ("silu", "conv", "norm", "conv", "silu", "norm"):
        clock.report_layer_time(name, 1.0)
    assert list(clock.medians()) == ["silu", "conv", "norm"]


@pytest.mark.parametrize(
    ("name", "kind", "origins"),
    [
        ("Reformatting CopyNode for Input Tensor 0 to conv", "Reformat", ("conv",)),
        ("PWN(sigmoid, mul)", "PointWise", ("sigmoid", "mul")),
        ("{ForeignNode[norm...scores]}", "ForeignNode", ("norm...scores",)),
        ("conv2d + silu", "Layer", ("conv2d", "silu")),
    ],
)
def test_tensorrts_records_say_kind_and_nodes(
    name: str, kind: str, origins: tuple[str, ...]
) -> None:
    clock = LayerClock()
    clock.report_layer_time(name, 4.0)
    assert clock.read_layers() == (LayerRecord(name, kind, 0.004, origins),)


def test_a_node_that_a_name_holds_twice_is_listed_once() -> None:
    assert split_trt_name("mul + PWN(add, mul)") == ("mul", "add")


def test_a_name_of_marks_alone_has_no_nodes() -> None:
    assert split_trt_name("{ForeignNode[]}") == ()


def test_the_librarys_profiler_tells_the_clock() -> None:
    class Library:
        class IProfiler:
            """Stands in for the binding's, which counts those that were initialized."""

            made = 0

            def __init__(self) -> None:
                Library.IProfiler.made += 1

    clock = LayerClock()
    profiler = make_trt_profiler(Library, clock)
    profiler.report_layer_time("conv", 2.0)
    assert isinstance(profiler, Library.IProfiler)
    assert (Library.IProfiler.made, clock.medians()) == (1, {"conv": 0.002})
