"""Timing an engine where a device is, and the answer where none is."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.engines import EngineSettings
from echoexport.export.engines.nvidia.tensorrt_build import time_engine
from echoexport.export.engines.nvidia.tensorrt_library import TENSORRT
from echoexport.export.engines.nvidia.tensorrt_timing import REPEATS, WARM_UP, time_calls
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec

AXES = (("rows", 2),)
SPEC = SubnetSpec(
    "tiny", (TensorSpec("x", "float16", AXES),), (TensorSpec("y", "float16", AXES),), {}
)
SETTINGS = EngineSettings(timeout=120.0)


@given(st.lists(st.floats(0, 10), min_size=REPEATS, max_size=REPEATS))
def test_the_median_after_a_warm_up_is_taken(seconds: list[float]) -> None:
    warm_up = [1e6] * WARM_UP
    ticks = itertools.chain.from_iterable((0.0, each) for each in (*warm_up, *seconds))
    calls: list[int] = []
    found = time_calls(lambda: calls.append(1), clock=lambda: next(ticks))
    assert found == sorted(seconds)[REPEATS // 2]
    assert len(calls) == WARM_UP + REPEATS


def test_without_the_library_the_reason_is_the_answer(tmp_path: Path) -> None:
    found = time_engine(TENSORRT, tmp_path / "plan", SPEC, SETTINGS)
    assert isinstance(found, str) and "TensorRT" in found and "not installed" in found


def test_an_engine_that_runs_is_timed(tmp_path: Path) -> None:
    """With the null backend, which has engines to keep and needs no device."""
    from echoexport.export.engines import null

    plan = tmp_path / "plan"
    null.build_engine(
        tmp_path / "graph.onnx", SPEC, plan, settings=SETTINGS, report=lambda text: None
    )
    found = time_engine(replace(TENSORRT, backend="null"), plan, SPEC, SETTINGS)
    assert isinstance(found, float) and found >= 0
