"""What a bundle's two networks for live take and give, read off their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.spec import TensorSpec
from echoexport.runtime.errors import BundleError

LIVE_AUDIO = "audio_encoder_live"
"""Rows of the last three seconds, their padding's keys and values built in."""

LIVE_DENOISER = "denoising_unet_live"
"""Advances new frames and takes past ones as their motion features at the same step."""

PAST = "past."
"""Begins the names of the denoiser's inputs that are features of past frames."""

KEPT = "kept."
"""Begins the names of its outputs that are the next call's, of past and new frames."""


@dataclass(frozen=True)
class LiveAudio:
    """The shape of the live audio encoder: (1, mels, columns) to (1, states, rows, width)."""

    columns: int
    """Of the log-mel. A window begins at an even column of the clip's, and its last
    column is the last that its last row reads: two beyond twice that row."""
    rows: int
    """The last rows of the window, which it gives."""


@dataclass(frozen=True)
class LiveDenoiser:
    """The shape of the live denoiser, whose state is its motion features of past frames."""

    new_frames: int
    """Which a call advances."""
    past_frames: int
    """Of the state, oldest first. ``past_gate`` (1, past_frames) is 1 where one is there."""
    state: Mapping[str, TensorSpec]
    """Inputs (1, past_frames, positions, width) by the output that is the same tensor
    after the call. At every step of a trajectory there is a state of its own."""


def find_live_audio(manifest: Manifest) -> LiveAudio | None:
    """The live audio encoder's shape, None where the bundle has none.

    Raises:
        BundleError: its tensors are not such a network's.
    """
    entry = manifest.networks.get(LIVE_AUDIO)
    if entry is None:
        return None
    spec = entry.describe(LIVE_AUDIO)
    return LiveAudio(
        columns=_find_axis(spec.inputs, "log_mel", "columns"),
        rows=_find_axis(spec.outputs, "audio_states", "rows"),
    )


def find_live_denoiser(manifest: Manifest) -> LiveDenoiser | None:
    """The live denoiser's shape, None where the bundle has none.

    Raises:
        BundleError: its tensors are not such a network's.
    """
    entry = manifest.networks.get(LIVE_DENOISER)
    if entry is None:
        return None
    past = {tensor.name: tensor for tensor in entry.inputs if tensor.name.startswith(PAST)}
    kept = {tensor.name: tensor for tensor in entry.outputs if tensor.name.startswith(KEPT)}
    state = {f"{KEPT}{name.removeprefix(PAST)}": tensor for name, tensor in past.items()}
    if {name: tensor.shape for name, tensor in kept.items()} != {
        name: tensor.shape for name, tensor in state.items()
    }:
        raise BundleError(
            f"network {LIVE_DENOISER}: its outputs {KEPT}* are not its inputs {PAST}* again"
        )
    return LiveDenoiser(
        new_frames=_find_axis(entry.inputs, "latents", "frames"),
        past_frames=_find_axis(entry.inputs, "past_gate", "past_frames"),
        state=state,
    )


def _find_axis(tensors: tuple[TensorSpec, ...], name: str, axis: str) -> int:
    for tensor in tensors:
        size = dict(tensor.axes).get(axis)
        if tensor.name == name and size is not None:
            return size
    raise BundleError(f"a network for live: no tensor {name!r} with an axis {axis!r}")
