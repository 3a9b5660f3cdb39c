"""Motion: flicker of neighbouring frames, and drift from the first to the last."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.profiles.quality.motion import drift, flicker
from echoexport.runtime.errors import InputError


def test_flicker_is_the_mean_change_whichever_way() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1] = 250
    assert flicker(frames) == 250.0


def test_flicker_outside_a_mask_is_not_seen() -> None:
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    frames[1, 0] = 9
    mask = np.ones((4, 4), bool)
    mask[0] = False
    assert flicker(frames, mask) == 0.0


def test_one_frame_has_no_flicker() -> None:
    with pytest.raises(InputError, match="two or more"):
        flicker(np.zeros((1, 4, 4, 3), np.uint8))


def test_drift_tells_the_first_frames_from_the_last() -> None:
    random = np.random.default_rng(0)
    portrait = random.integers(0, 128, (16, 16, 3), dtype=np.uint8)
    frames = np.repeat(portrait[None], 10, axis=0)
    frames[-3:] += 20
    found = drift(frames, portrait, span=3)
    assert found.first.psnr == 60.0
    assert found.last.psnr == pytest.approx(10 * np.log10(255**2 / 400))
    assert found.last.delta_e > 3
