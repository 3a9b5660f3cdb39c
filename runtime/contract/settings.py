"""The numbers that a bundle was built with: pictures, windows, sampling, audio."""

from __future__ import annotations

from dataclasses import dataclass

from echoexport.runtime.contract.noise_schedule import SchedulerConfig


@dataclass(frozen=True)
class PictureSettings:
    """Pixels of the pictures in and out, and how many of them one latent stands for."""

    width: int
    """Of a picture, in pixels."""
    height: int
    """Of a picture, in pixels."""
    channels: int
    """Of a picture."""
    latent_channels: int
    """Of the latents."""
    downscale: int
    """Pixels a side of a picture for one of its latents."""
    hold: int = 0
    """A pixel of a video keeps the value it was last shown with until a channel differs
    from it by more than so many levels of 255; 0 shows every change, as the original
    does."""


@dataclass(frozen=True)
class WindowSettings:
    """Which frames are denoised together."""

    frames: int
    """How many there are in a window."""
    overlap: int
    """How many of them neighbouring windows share."""
    shift: int
    """By how many frames windows move from step to step."""


@dataclass(frozen=True)
class SamplerSettings:
    """Defaults of the sampling loop."""

    steps: int
    """How many there are."""
    guidance: float
    """Above 1, each window costs a second, unconditional call."""
    noise_clamp: float | None
    """What the initial noise is cut to, on both sides of 0; None leaves it as it is."""
    scheduler: SchedulerConfig
    """The noise schedule."""
    shared_noise: float = 0.0
    """Share of the initial noise's variance that all frames have in common, 0 (the
    original) to 1."""
    live_steps: int | None = None
    """Steps that a live session begins with where the device keeps up; None for
    ``steps``."""

    @property
    def most_steps(self) -> int:
        """The most that anything takes which is not told otherwise."""
        return max(self.steps, self.live_steps or 0)


@dataclass(frozen=True)
class AudioSettings:
    """What the audio encoder wants and gives."""

    sample_rate: int
    """Samples a second of the voice."""
    mels: int
    """Channels of the log-mel."""
    context: int
    """Rows of features that the encoder gives for a segment."""
    states: int
    """How many layers' outputs are stacked."""
    width: int
    """Of a row."""
    rows_per_second: int
    """Rows of features."""
    rows_per_frame: int
    """Rows that one video frame is told of."""


def spell_steps(steps: int) -> str:
    """So many sampling steps in words: "1 step", "6 steps"."""
    return "1 step" if steps == 1 else f"{steps} steps"
