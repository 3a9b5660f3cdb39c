"""Smoothing: factors that are sound, and outlier channels that int8 renders better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.choosing.smoothing import (
    SmoothingSettings,
    compute_factors,
    find_smoothing,
    measure_error,
)
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.ranges import RangeSettings, collect_ranges
from echoexport.calibration.sample import Sample

pytest.importorskip("onnxruntime")


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_factors_are_finite_and_positive_whatever_the_maxima(seed: int, alpha: float) -> None:
    random = np.random.default_rng(seed)
    x = (random.random(16) * 10.0 ** random.integers(-20, 20, 16)).astype(np.float32)
    x[random.random(16) < 0.3] = 0
    factors = compute_factors(x, random.random(16).astype(np.float32), alpha=alpha)
    assert np.all(np.isfinite(factors)) and np.all(factors > 0)


def test_an_exponent_of_one_makes_all_channels_alike() -> None:
    x = np.array([1, 10, 100], np.float32)
    np.testing.assert_allclose(
        x / compute_factors(x, np.ones(3, np.float32), alpha=1.0), 10, rtol=1e-5
    )


@pytest.mark.parametrize("real", [True, False])
def test_outlier_channels_are_smoothed_and_int8_gains_by_it(
    tmp_path: Path, real: bool, make_small: Callable[..., Any]
) -> None:
    small = make_small()
    small.linear(small.norm("x", "norm1"), "first", wide=32)
    small.external["norm1.weight"][2] = 80
    graph = small.write(tmp_path / "outlier.onnx", "first.out")
    random = np.random.default_rng(1)
    samples = [
        Sample(
            "outlier",
            {"x": random.standard_normal((1, 6, 8)).astype(np.float32)},
            "a.png",
            "b.wav",
        )
        for _ in range(8)
    ]
    ranges = collect_ranges(graph, lambda: samples, settings=RangeSettings())
    found = find_smoothing(
        graph,
        ranges,
        samples=(lambda: samples) if real else None,
        settings=SmoothingSettings(rows=4),
    )
    factors = np.array(found["norm1"].factors, np.float32)
    assert factors.argmax() == 2
    rows = random.standard_normal((100, 8)).astype(np.float32) * graph.read("norm1.weight")
    weight = np.asarray(graph.read("first.weight"), np.float32)
    amax = float(np.abs(rows).max())
    after = measure_error(
        rows / factors, weight * factors[:, None], amax=float(np.abs(rows / factors).max())
    )
    assert after < measure_error(rows, weight, amax=amax)


def test_the_same_samples_give_the_same_factors(
    tmp_path: Path, make_block: Callable[[Path], FloatGraph], x_rows: np.ndarray
) -> None:
    graph = make_block(tmp_path / "block.onnx")
    samples = [
        Sample("block", {"x": x_rows * np.float32(scale)}, "a.png", "b.wav")
        for scale in range(1, 20)
    ]
    ranges = collect_ranges(graph, lambda: samples, settings=RangeSettings())
    settings = SmoothingSettings(rows=2, most=8)
    assert find_smoothing(
        graph, ranges, samples=lambda: samples, settings=settings
    ) == find_smoothing(graph, ranges, samples=lambda: samples, settings=settings)
