"""What a bundle's two networks for live take and give, read off their tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.spec import TensorSpec
from echoexport.runtime.errors import BundleError

LIVE_AUDIO = "audio_encoder_live"
"""Rows of a frame's last seconds, their padding's keys and values built in."""

LIVE_DENOISER = "denoising_unet_live"
"""Advances new frames and takes past ones as their motion features at the same step."""

PAST = "past."
"""Begins the names of the denoiser's inputs that are features of past frames."""

KEPT = "kept."
"""Begins the names of its outputs that are the next call's, of past and new frames."""


@dataclass(frozen=True)
class LiveAudio:
    """The shape of an encoder that live hears with.

    It takes (1, mels, columns) to (1, states, rows, width).
    """

    columns: int
    """Of the log-mel. A window begins at an even column of the clip's, and its last
    column is the last that its last row reads: two beyond twice that row."""
    rows: int
    """Which it gives."""
    chooses: bool
    """Whether these are the ones that its input ``chosen_rows`` (1, rows, heard rows) is 1
    for. Else they are the last of the window, as in bundles built before, or all."""

    @property
    def heard(self) -> int:
        """Columns of sound that it takes at most: odd, since rows are centred on even ones."""
        return self.columns - 1 + self.columns % 2

    @property
    def fixed(self) -> bool:
        """Whether only rows at the window's end are given, where all sound must end then."""
        return not self.chooses and self.rows < self.columns // 2


def choose_rows(rows: Sequence[int], heard: int) -> NDArray[np.float32]:
    """What a live encoder's input ``chosen_rows`` is for these rows of so many that it hears.

    (1, rows, heard) float32, 1 where a row is chosen; a row may be chosen again and again.
    """
    return np.eye(heard, dtype=np.float32)[None, list(rows)]


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
        chooses=any(tensor.name == "chosen_rows" for tensor in spec.inputs),
    )


def describe_clips_audio(manifest: Manifest) -> LiveAudio:
    """The shape of the clips' encoder, which hears in the place of the one for live."""
    context = manifest.audio.context
    return LiveAudio(columns=2 * context, rows=context, chooses=False)


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
