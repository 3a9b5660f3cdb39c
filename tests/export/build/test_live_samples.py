"""Samples of the networks for live: pieces of recorded sound, and windows run call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.sample import Sample
from echoexport.export.build.live_samples import count_live_samples, take_samples
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import Manifest

pytest.importorskip("onnxruntime")

FRAMES = 6


class OneSample:
    """A calibration set of one call of each network."""

    def __init__(self, **samples: dict[str, np.ndarray]) -> None:
        self._samples = samples

    def count(self, network: str) -> int:
        """One, of networks that are there."""
        return int(network in self._samples)

    def samples(self, network: str) -> Iterator[Sample]:
        """The network's call."""
        yield Sample(network, self._samples[network], "portrait", "voice", step=1)


@pytest.fixture
def bundle(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> Path:
    """The smallest networks in fp32, those for live among them, with windows of six frames."""
    folder = tmp_path / "bundle"
    build(checkpoint, folder, traces=trace_folder, live=True, frames=FRAMES, check="none")
    return folder


@pytest.fixture
def recorded(bundle: Path) -> Any:
    """The denoiser's own self-test, and 45 columns of sound before padding."""
    with np.load(bundle / "self-test" / "denoising_unet.npz") as arrays:
        window = {
            key.removeprefix("input."): arrays[key]
            for key in arrays.files
            if key.startswith("input.")
        }
    mel = np.zeros((1, 5, 60), np.float32)
    mel[:, :, :45] = np.arange(1, 46)
    return OneSample(audio_encoder={"log_mel": mel}, denoising_unet=window)


def test_sound_is_cut_where_there_is_some(bundle: Path, recorded: Any) -> None:
    graph = FloatGraph(bundle / "audio_encoder_live.onnx")
    pieces = [sample.inputs["log_mel"] for sample in take_samples(graph, recorded)]
    assert [piece.shape for piece in pieces] == [(1, 5, 19)] * 2
    assert [piece[0, 0, 0] for piece in pieces] == [1, 20]


def test_sound_that_is_too_short_is_padded(bundle: Path) -> None:
    short: Any = OneSample(audio_encoder={"log_mel": np.ones((1, 5, 18), np.float32)})
    graph = FloatGraph(bundle / "audio_encoder_live.onnx")
    (sample,) = take_samples(graph, short)
    assert sample.network == "audio_encoder_live"
    assert sample.inputs["log_mel"][0, 0].tolist() == [1.0] * 18 + [0.0]
    assert sample.inputs["chosen_rows"].shape == (1, 10, 9)


def test_a_window_is_run_call_by_call_with_what_each_kept(bundle: Path, recorded: Any) -> None:
    name = "denoising_unet_live"
    samples = list(take_samples(FloatGraph(bundle / f"{name}.onnx"), recorded))
    window = next(recorded.samples("denoising_unet")).inputs
    latents = np.concatenate([sample.inputs["latents"] for sample in samples], axis=2)
    np.testing.assert_array_equal(latents, window["latents"])
    gates = [sample.inputs["past_gate"].tolist() for sample in samples]
    assert gates == [[[0, 0, 0, 0]], [[0, 0, 1, 1]], [[1, 1, 1, 1]]]
    assert {sample.step for sample in samples} == {1}
    with open_bundle(bundle) as opened:
        network = opened.network(name)
        wanted = {tensor.name: tensor.shape for tensor in network.spec.inputs}
        for sample, after in pairwise(samples):
            assert {key: value.shape for key, value in sample.inputs.items()} == wanted
            for key, kept in network(sample.inputs).items():
                if key.startswith("kept."):
                    past = after.inputs[key.replace("kept.", "past.")]
                    np.testing.assert_allclose(past, kept, atol=1e-6)


def test_other_networks_have_samples_of_their_own(bundle: Path, recorded: Any) -> None:
    (sample,) = take_samples(FloatGraph(bundle / "denoising_unet.onnx"), recorded)
    assert sample.network == "denoising_unet"
    assert count_live_samples("denoising_unet_live", recorded) == 1
    assert count_live_samples("vae_decoder", recorded) == 0
