"""Stages: each moment counted once, and what none of them accounts for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.trace.stages import summarize_stages
from echoexport.runtime.trace.tracer import CATEGORIES, CLIP, Span, Tracer

# A stage's own time is what no inner span takes: trees of spans on whole seconds, so
# that every sum is exact.
NAMES = st.sampled_from(["clip", "open", "reference"])
TREES = st.recursive(
    st.tuples(NAMES, st.sampled_from(CATEGORIES), st.integers(0, 3), st.just(())),
    lambda inner: st.tuples(
        NAMES,
        st.sampled_from(CATEGORIES),
        st.integers(0, 3),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=12,
)


def run_tree(
    tree: Any, tracer: Tracer, clock: Any, stages: Counter[str], outer: str | None
) -> None:
    name, category, seconds, inner = tree
    own = name if category == "stage" else category
    if category in ("engine", "copy") and outer is not None:
        own = outer
    with tracer.span(name, category):
        for child in inner:
            run_tree(child, tracer, clock, stages, own)
        clock.time += seconds
        stages[own] += seconds


@given(st.lists(TREES, min_size=1, max_size=4), st.integers(0, 2))
def test_stages_and_the_unaccounted_add_up_to_the_wall_each_moment_once(
    make_clock: Callable[[], Any], trees: list[Any], gap: int
) -> None:
    clock = make_clock()
    stages = Counter[str]()
    tracer = Tracer(now=clock)
    for tree in trees:
        run_tree(tree, tracer, clock, stages, None)
        clock.time += gap
    found = summarize_stages(tracer.spans())
    expected = {name: seconds for name, seconds in stages.items() if seconds and name != CLIP}
    assert {name: seconds for name, seconds in found.stages.items() if seconds} == expected
    assert found.wall == clock.time - 100.0 - gap
    assert found.unaccounted == stages[CLIP] + gap * (len(trees) - 1)


def test_nothing_recorded_is_no_stage() -> None:
    found = summarize_stages(())
    assert (found.stages, found.unaccounted, found.wall) == ({}, 0.0, 0.0)


def test_device_time_and_other_threads_are_no_part_of_a_tracks_stages() -> None:
    spans = [
        Span("decode", "decode", 0.0, 4.0),
        Span("vae_decoder", "engine", 1.0, 9.0, "gpu", clock="device"),
        Span("vae_decoder", "engine", 1.0, 3.0, "main", clock="device"),
        Span("window", "sampling", 0.0, 20.0, "sampler"),
    ]
    assert summarize_stages(spans).stages == {"decode": 4.0}
    assert summarize_stages(spans, track="sampler").stages == {"sampling": 20.0}
