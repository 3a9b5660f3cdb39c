"""One call of the denoiser: its conditions, the blank half, guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.sampling.ddim import sinusoid

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


class Denoiser:
    """Calls the denoising UNet for one window.

    Where guidance is on it is called for the unconditional half too.
    """

    def __init__(self, bundle: Bundle, conditions: Conditions, *, guided: bool) -> None:
        self._network = bundle.network("denoising_unet")
        self.streams = self._network.streams
        self._conditions = conditions
        self._guided = guided
        self._shapes = {tensor.name: tensor.shape for tensor in self._network.spec.inputs}

    def run(
        self, latents: NDArray[np.float32], *, window: tuple[int, ...], timestep: int
    ) -> list[NDArray[np.float32]]:
        """Velocity of the window's frames, (1, 4, f, h, w).

        With guidance also the unconditional one, second.
        """
        time_width = self._shapes["timestep_sinusoid"][1]
        common = {
            "latents": latents[:, :, list(window)],
            "timestep_sinusoid": sinusoid([timestep], time_width),
            **self._conditions.reference,
        }
        audio = self._conditions.audio(window)
        face = self._conditions.face(window)
        velocities = [self._call(common, audio=audio, face=face, gate=1.0)]
        if self._guided:
            velocities.append(
                self._call(common, audio=np.zeros_like(audio), face=np.zeros_like(face), gate=0.0)
            )
        return velocities

    def _call(
        self,
        common: Mapping[str, NDArray[np.float32]],
        *,
        audio: NDArray[np.float32],
        face: NDArray[np.float32],
        gate: float,
    ) -> NDArray[np.float32]:
        own = {
            "audio_tokens": audio,
            "face_feature": face,
            "reference_gate": np.full(1, gate, np.float32),
        }
        velocity = self._network({**common, **own})["velocity"]
        return velocity.astype(np.float32, copy=False)
