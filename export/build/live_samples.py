"""Samples of the networks for live, cut from those of the networks whose weights they read.

No rendering calls them, so no set has any of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.recording.sets import CalibrationSet
from echoexport.calibration.sample import Sample
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.live_networks import (
    KEPT,
    LIVE_AUDIO,
    LIVE_DENOISER,
    PAST,
    choose_rows,
)
from echoexport.runtime.engine.protocol import EngineOptions

__all__ = ["count_live_samples", "take_samples"]

_Arrays = dict[str, NDArray[np.float32]]


def count_live_samples(name: str, recorded: CalibrationSet) -> int:
    """How many samples a network's come from."""
    return recorded.count(FAMILY.owner_of(name))


def take_samples(graph: FloatGraph, recorded: CalibrationSet) -> Iterator[Sample]:
    """A network's samples; ``graph`` lies in an fp32 bundle.

    Of the live denoiser, whose past is what it kept itself, a window is some calls on end.

    Raises:
        CalibrationError: an array cannot be read any more.
        BackendError: the live denoiser does not run here.
    """
    samples = recorded.samples(FAMILY.owner_of(graph.name))
    if graph.name == LIVE_AUDIO:
        return _cut_sound(graph, samples)
    if graph.name == LIVE_DENOISER:
        return _cut_windows(graph, samples)
    return samples


def _cut_sound(graph: FloatGraph, samples: Iterator[Sample]) -> Iterator[Sample]:
    """Pieces of what is sound and no padding, one after the other."""
    shapes = {
        tensor.name: [axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
        for tensor in graph.model.graph.input
    }
    columns = shapes["log_mel"][2]
    _, kept, rows = shapes["chosen_rows"]
    chosen = choose_rows([max(row, 0) for row in range(rows - kept, rows)], rows)
    for sample in samples:
        mel = sample.inputs["log_mel"]
        heard = np.flatnonzero(mel.any(axis=(0, 1)))
        length = int(heard[-1]) + 1 if heard.size else 0
        for start in range(0, max(length - columns, 0) + 1, columns):
            piece = np.zeros((*mel.shape[:2], columns), np.float32)
            part = mel[:, :, start : start + columns]
            piece[:, :, : part.shape[2]] = part
            yield replace(
                sample, network=graph.name, inputs={"log_mel": piece, "chosen_rows": chosen}
            )


def _cut_windows(graph: FloatGraph, samples: Iterator[Sample]) -> Iterator[Sample]:
    """Each window's frames in turn, as many as are new in a call."""
    options = EngineOptions(compute="fp32", lanes=1)
    with open_bundle(graph.path.parent, options=options) as bundle:
        network = bundle.network(graph.name)
        for sample in samples:
            for inputs in _run_window(network, sample):
                yield replace(sample, network=graph.name, inputs=inputs)


def _run_window(network: Network, sample: Sample) -> Iterator[_Arrays]:
    shapes = {tensor.name: tensor.shape for tensor in network.spec.inputs}
    new = shapes["latents"][2]
    state: _Arrays = {
        name: np.zeros(shape, np.float32)
        for name, shape in shapes.items()
        if name.startswith(PAST) or name == "past_gate"
    }
    for start in range(0, sample.inputs["latents"].shape[2] - new + 1, new):
        inputs = {**_cut_frames(sample, slice(start, start + new)), **state}
        yield inputs
        outputs = network(inputs)
        state = {
            name: outputs[name.replace(PAST, KEPT, 1)] for name in state if name.startswith(PAST)
        }
        gate = np.roll(inputs["past_gate"], -new, axis=1)
        gate[:, -new:] = 1
        state["past_gate"] = gate


def _cut_frames(sample: Sample, frames: slice) -> _Arrays:
    inputs = dict(sample.inputs)
    inputs["latents"] = inputs["latents"][:, :, frames]
    inputs["audio_tokens"] = inputs["audio_tokens"][:, frames]
    if inputs["face_feature"].shape[2] > 1:
        inputs["face_feature"] = inputs["face_feature"][:, :, frames]
    return {name: np.ascontiguousarray(value) for name, value in inputs.items()}
