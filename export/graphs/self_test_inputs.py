"""Inputs for a bundle's self-test.

One chain through the networks, so that every range is a real one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.contract.live_networks import PAST, choose_rows
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.sampling.ddim import sinusoid
from echoexport.runtime.sampling.noise import initial_latents

_Arrays = dict[str, np.ndarray]

_SEED = 20
_TIMESTEP = 499  # the middle of the schedule, where noise and signal are about equal


def make_inputs(spec: SubnetSpec, earlier: Mapping[str, _Arrays]) -> _Arrays:
    """A network's self-test inputs in its own dtype.

    ``earlier`` holds the golden outputs of those before it.
    """
    shapes = {tensor.name: tensor.shape for tensor in spec.inputs}
    match spec.name:
        case "vae_encoder":
            values = {"picture": np.tanh(_smooth(shapes["picture"], seed=_SEED))}
        case "reference_unet" | "vae_decoder":
            values = {"latents": earlier["vae_encoder"]["latents"]}
        case "landmark_encoder":
            values = {"face_map": _face_map(shapes["face_map"])}
        case "audio_encoder" | "audio_encoder_live":
            values = {"log_mel": _log_mel(shapes["log_mel"]), **_chosen_rows(shapes)}
        case _:
            values = _denoising_inputs(shapes, earlier)
    return {
        tensor.name: np.ascontiguousarray(values[tensor.name], dtype=tensor.dtype)
        for tensor in spec.inputs
    }


def _denoising_inputs(
    shapes: Mapping[str, tuple[int, ...]], earlier: Mapping[str, _Arrays]
) -> _Arrays:
    frames = shapes["latents"][2]
    _, channels, _, height, width = shapes["latents"]
    states = np.swapaxes(earlier["audio_encoder"]["audio_states"][0], 0, 1)
    feature = earlier["landmark_encoder"]["face_feature"][:, :, None]
    return {
        "latents": initial_latents(
            _SEED, frames=frames, shape=(channels, height, width), clamp=None
        ),
        "timestep_sinusoid": sinusoid([_TIMESTEP], shapes["timestep_sinusoid"][1]),
        "audio_tokens": AudioTokens(states, 25, frames=frames).window(range(frames)),
        "face_feature": np.broadcast_to(feature, shapes["face_feature"]),
        "reference_gate": np.ones(1, np.float32),
        **earlier["reference_unet"],
        **_past_inputs(shapes),
    }


def _past_inputs(shapes: Mapping[str, tuple[int, ...]]) -> _Arrays:
    """What a denoiser for live takes: all past frames but the first, alike at all places."""
    values: _Arrays = {}
    for number, (name, shape) in enumerate(shapes.items()):
        if name.startswith(PAST):
            _, frames, _, width = shape
            features = np.random.default_rng([_SEED, number]).standard_normal((frames, 1, width))
            values[name] = np.broadcast_to(features, shape)
    if "past_gate" in shapes:
        gate = np.ones(shapes["past_gate"], np.float32)
        gate[:, 0] = 0
        values["past_gate"] = gate
    return values


def _log_mel(shape: tuple[int, ...]) -> np.ndarray:
    """Normalized, it lies between about -1 and 1.5."""
    values: np.ndarray = np.clip(0.5 * _smooth((1, *shape), seed=_SEED + 1)[0], -1, 1.5)
    return values


def _chosen_rows(shapes: Mapping[str, tuple[int, ...]]) -> _Arrays:
    """Rows all over what a live audio encoder hears, the first and the last among them."""
    if "chosen_rows" not in shapes:
        return {}
    _, kept, heard = shapes["chosen_rows"]
    rows = np.linspace(0, heard - 1, kept).round().astype(int)
    return {"chosen_rows": choose_rows(rows.tolist(), heard)}


def _smooth(shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    """(n, channels, height, width) noise of a coarse grid, enlarged, about unit variance.

    A picture's statistics.
    """
    n, channels, height, width = shape
    cell = 8
    coarse = initial_latents(
        seed, frames=n, shape=(channels, -(-height // cell), -(-width // cell)), clamp=None
    )
    fine = np.repeat(np.repeat(coarse[0].swapaxes(0, 1), cell, axis=2), cell, axis=3)
    return fine[:, :, :height, :width]


def _face_map(shape: tuple[int, ...]) -> np.ndarray:
    """Ones where a face would be, in every channel."""
    values = np.zeros(shape, np.float32)
    height, width = shape[2:]
    values[:, :, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 1.0
    return values
