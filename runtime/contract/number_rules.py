"""Rules of a manifest's numbers: what the runtime divides by, counts to or looks up."""

from __future__ import annotations

from echoexport.runtime.contract.settings import (
    AudioSettings,
    PictureSettings,
    SamplerSettings,
    WindowSettings,
)

__all__ = ["find_broken_rule"]

_MOST_FRAMES = 4096
_LONGEST_SIDE = 16384


def find_broken_rule(
    picture: PictureSettings,
    window: WindowSettings,
    sampler: SamplerSettings,
    audio: AudioSettings,
    *,
    fps: float,
) -> str | None:
    """The first rule that does not hold, in words; None where all do."""
    rules = {
        "fps above 0": fps > 0,
        "picture sides that are multiples of downscale": picture.downscale > 0
        and min(picture.width, picture.height) > 0
        and not (picture.width % picture.downscale or picture.height % picture.downscale),
        f"a window of 1 to {_MOST_FRAMES} frames": 1 <= window.frames <= _MOST_FRAMES,
        f"picture sides of at most {_LONGEST_SIDE}": max(picture.width, picture.height)
        <= _LONGEST_SIDE,
        "an overlap of 0 or more frames, less than the window's": 0
        <= window.overlap
        < window.frames,
        "a noise clamp above 0": sampler.noise_clamp is None or sampler.noise_clamp > 0,
        "hold from 0 to 255 levels": 0 <= picture.hold <= 255,
        "shared noise from 0 to 1": 0 <= sampler.shared_noise <= 1,
        "audio numbers above 0": min(
            audio.sample_rate, audio.mels, audio.context, audio.states, audio.width
        )
        > 0,
    }
    return next((wanted for wanted, holds in rules.items() if not holds), None)
