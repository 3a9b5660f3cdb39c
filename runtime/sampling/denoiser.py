"""One call of the denoiser: its conditions, the blank half, guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.sampling.ddim import sinusoid

BLANKED = ("audio_tokens", "face_feature", "reference_gate")
"""The inputs by which the denoiser hears a voice and sees a face: all zeros in the unconditional
half."""

Gather = Callable[[Iterable[int]], NDArray[np.float32]]
"""Frame indices of a window to that window's array."""


@dataclass(frozen=True)
class Conditions:
    """What every call of the denoiser gets."""

    audio: Gather
    """Tokens of a window, (1, f, tokens, width)."""
    face: Gather
    """Face features of a window, (1, C0, 1 or f, h, w)."""
    reference: Mapping[str, NDArray[np.float32]]
    """Keys and values by the name of the denoiser's input."""


def is_guided(guidance: float) -> bool:
    """Whether the unconditional half is computed, as in the original for a guidance above 1."""
    return guidance > 1.0


def blank(inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The unconditional half's inputs: a call's own, with nothing to be heard or seen in them."""
    return {**inputs, **{name: np.zeros_like(inputs[name]) for name in BLANKED}}


def guide(
    conditional: NDArray[np.float32], unconditional: NDArray[np.float32], guidance: float
) -> NDArray[np.float32]:
    """The velocity ``guidance`` times as far from the unconditional as the conditional is.

    All three have one shape. Source: classifier-free guidance, Ho and Salimans 2022.
    """
    guided: NDArray[np.float32] = unconditional + np.float32(guidance) * (
        conditional - unconditional
    )
    return guided


class Denoiser:
    """Calls the denoising UNet for one window.

    Where guidance is on it is called for the unconditional half too.
    """

    def __init__(self, networks: Lease, conditions: Conditions, *, guided: bool) -> None:
        self._network = networks.network("denoising_unet")
        self.lanes = self._network.lanes
        self._conditions = conditions
        self._guided = guided
        self._shapes = {tensor.name: tensor.shape for tensor in self._network.spec.inputs}

    def run(
        self, latents: Gather, *, window: tuple[int, ...], timestep: int
    ) -> list[NDArray[np.float32]]:
        """Velocity of the window's frames, (1, 4, f, h, w).

        With guidance also the unconditional one, second. ``latents`` gives the frames'
        own, (1, 4, f, h, w).
        """
        time_width = self._shapes["timestep_sinusoid"][1]
        inputs = {
            "latents": latents(window),
            "timestep_sinusoid": sinusoid([timestep], time_width),
            **self._conditions.reference,
            "audio_tokens": self._conditions.audio(window),
            "face_feature": self._conditions.face(window),
            "reference_gate": np.ones(1, np.float32),
        }
        return [self._call(half) for half in self._halves(inputs)]

    def _halves(
        self, inputs: dict[str, NDArray[np.float32]]
    ) -> Iterator[Mapping[str, NDArray[np.float32]]]:
        yield inputs
        if self._guided:
            yield blank(inputs)

    def _call(self, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._network(inputs)["velocity"].astype(np.float32, copy=False)
