"""Ranges over samples: exact maxima, thresholds per timestep bin, combined as asked.

What is broken is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.ranges import METHODS, RangeSettings, collect_ranges
from echoexport.calibration.plan import Smoothing
from echoexport.calibration.sample import Sample
from echoexport.runtime.errors import CalibrationError, SettingError

pytest.importorskip("onnxruntime")

STEPS = 4


@pytest.fixture
def graph(tmp_path: Path) -> FloatGraph:
    """A convolution and a linear layer that read the network's two inputs."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["picture", "conv.weight"], ["map"], name="conv"),
        helper.make_node("MatMul", ["tokens", "linear.weight"], ["result"], name="linear"),
    ]
    tensors = [
        numpy_helper.from_array(
            random.standard_normal((4, 3, 1, 1)).astype(np.float32), "conv.weight"
        ),
        numpy_helper.from_array(random.standard_normal((8, 5)).astype(np.float32), "linear.weight"),
    ]
    shapes = {
        "picture": (2, 3, 8, 8),
        "tokens": (2, 50, 8),
        "map": (2, 4, 8, 8),
        "result": (2, 50, 5),
    }
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    body = helper.make_graph(nodes, "denoising_unet", infos[:2], infos[2:], tensors)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "denoising_unet.onnx").write_bytes(model.SerializeToString())
    return FloatGraph(tmp_path / "denoising_unet.onnx")


def make_sample(index: int, *, scale: float = 1.0) -> Sample:
    random = np.random.default_rng(index)
    picture = random.standard_normal((2, 3, 8, 8)).astype(np.float32) * np.float32(scale)
    tokens = random.standard_t(3, (2, 50, 8)).astype(np.float32) * np.float32(scale)
    step = index % STEPS
    return Sample(
        "denoising_unet",
        {"picture": picture, "tokens": tokens},
        "anna.png",
        "hello.wav",
        step=step,
        steps=STEPS,
        timestep=999 - 250 * step,
        window=0,
    )


SAMPLES = [make_sample(index, scale=1 + index % STEPS) for index in range(12)]


def of_step(name: str, step: int) -> list[np.ndarray]:
    return [np.abs(sample.inputs[name]) for sample in SAMPLES if sample.step == step]


def test_maxima_are_exact_per_step_and_channel(graph: FloatGraph) -> None:
    ranges = collect_ranges(graph, lambda: SAMPLES, settings=RangeSettings())
    for name, others in (("picture", (1, 3, 4)), ("tokens", (1, 2))):
        wanted = np.stack(
            [np.stack(of_step(name, step)).max(axis=(0, *others)) for step in range(STEPS)]
        )
        np.testing.assert_array_equal(ranges.channel_maxima[name], wanted)
        np.testing.assert_array_equal(ranges.channel_amax(name), wanted.max(axis=0))
        np.testing.assert_array_equal(ranges.per_step[name], wanted.max(axis=1))
        assert ranges.amax(name) == wanted.max()


def test_the_mean_and_the_smallest_of_the_first_steps_combine_as_they_say(
    graph: FloatGraph,
) -> None:
    ranges = collect_ranges(graph, lambda: SAMPLES, settings=RangeSettings(first=0.5))
    found = ranges.per_step["picture"]
    assert ranges.combined("mean").amax("picture") == pytest.approx(found.mean())
    assert ranges.combined("min_first").amax("picture") == found[:2].min()
    assert ranges.combined("min_first").amax("tokens") == ranges.per_step["tokens"].max()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_stays_within_the_maximum_of_each_step(graph: FloatGraph, method: str) -> None:
    exact = collect_ranges(graph, lambda: SAMPLES, settings=RangeSettings())
    found = collect_ranges(
        graph, lambda: SAMPLES, settings=RangeSettings(method, percentile=99.0), maxima=exact
    )
    for value in ("picture", "tokens"):
        assert np.all(found.per_step[value] > 0)
        assert np.all(found.per_step[value] <= exact.per_step[value])


def test_a_percentile_is_that_of_all_the_values_of_a_step(graph: FloatGraph) -> None:
    found = collect_ranges(
        graph, lambda: SAMPLES, settings=RangeSettings("percentile", percentile=95.0)
    )
    for step in range(STEPS):
        wanted = np.percentile(np.stack(of_step("tokens", step)), 95)
        assert found.per_step["tokens"][step] == pytest.approx(wanted, rel=0.06)


def test_many_steps_share_bins(graph: FloatGraph) -> None:
    ranges = collect_ranges(graph, lambda: SAMPLES, settings=RangeSettings(bins=2))
    assert ranges.steps == (0, 1)
    assert ranges.per_step["tokens"][0] == max(
        array.max() for step in (0, 1) for array in of_step("tokens", step)
    )


def test_ranges_of_smoothed_activations_are_those_after_the_division(graph: FloatGraph) -> None:
    factors = tuple(float(2**index) for index in range(8))
    smoothing = {"tokens": Smoothing(0.5, factors)}
    wanted = np.abs(
        np.stack([sample.inputs["tokens"] for sample in SAMPLES]) / np.array(factors, np.float32)
    )
    found = collect_ranges(graph, lambda: SAMPLES, settings=RangeSettings(), smoothing=smoothing)
    assert found.amax("tokens") == pytest.approx(wanted.max())
    settings = RangeSettings("percentile", percentile=90.0, bins=1)
    found = collect_ranges(graph, lambda: SAMPLES, settings=settings, smoothing=smoothing)
    assert found.amax("tokens") == pytest.approx(np.percentile(wanted, 90), rel=0.02)


def test_known_maxima_spare_the_first_pass(graph: FloatGraph) -> None:
    passes: list[int] = []

    def walk() -> Iterator[Sample]:
        passes.append(1)
        return iter(SAMPLES)

    exact = collect_ranges(graph, walk, settings=RangeSettings())
    collect_ranges(graph, walk, settings=RangeSettings("mse"), maxima=exact)
    assert len(passes) == 2


def test_networks_outside_the_loop_have_one_bin(graph: FloatGraph) -> None:
    samples = [
        Sample("denoising_unet", sample.inputs, "anna.png", "hello.wav") for sample in SAMPLES
    ]
    ranges = collect_ranges(graph, lambda: samples, settings=RangeSettings(combine="min_first"))
    assert ranges.steps == (0,)
    assert ranges.amax("picture") == max(
        np.abs(sample.inputs["picture"]).max() for sample in samples
    )


def test_what_is_always_zero_still_has_a_range(graph: FloatGraph) -> None:
    inputs = {name: np.zeros_like(array) for name, array in SAMPLES[0].inputs.items()}
    zeros = Sample("denoising_unet", inputs, "anna.png", "hello.wav", step=0, steps=STEPS)
    for method in METHODS:
        assert (
            collect_ranges(graph, lambda: [zeros], settings=RangeSettings(method)).amax("tokens")
            == 1.0
        )


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_with_layer_and_timestep(
    graph: FloatGraph, broken: float
) -> None:
    sample = make_sample(1)
    sample.inputs["tokens"][1, 3, 2] = broken
    with pytest.raises(
        CalibrationError,
        match=r"denoising_unet: layer linear reads 'tokens'.*timestep 749.*anna.png",
    ):
        collect_ranges(graph, lambda: [SAMPLES[0], sample], settings=RangeSettings())


def test_an_empty_set_is_refused(graph: FloatGraph) -> None:
    empty: Callable[[], list[Sample]] = list
    with pytest.raises(
        CalibrationError, match="denoising_unet: the calibration set holds no samples"
    ):
        collect_ranges(graph, empty, settings=RangeSettings())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"method": "best"}, "method 'best'"),
        ({"combine": "min"}, "combine 'min'"),
        ({"percentile": 0.0}, "percentile 0"),
        ({"first": 1.5}, "first 1.5"),
        ({"bins": 0}, "bins 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        RangeSettings(**settings)  # type: ignore[arg-type]


def test_progress_is_told_pass_by_pass(graph: FloatGraph) -> None:
    told: list[tuple[str, int, int]] = []
    settings = RangeSettings("mse")
    collect_ranges(graph, lambda: SAMPLES, settings=settings, report=lambda *now: told.append(now))
    assert told[0] == ("denoising_unet: ranges", 0, 12)
    assert told[-1] == ("denoising_unet: histograms", 12, 12)
