"""What a session did, in numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from echoexport.runtime.live import statistics
from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING, LiveFrame
from echoexport.runtime.live.statistics import LiveStatistics


def make_frame(state: str, *, late: float = 0.0) -> LiveFrame:
    nothing = np.zeros(0, np.float32)
    picture = np.zeros((2, 2, 3), np.uint8)
    return LiveFrame(picture, nothing, 16_000, 0, Fraction(0), 0, state, late=late)


def test_frames_are_counted_by_what_the_face_does() -> None:
    counts = LiveStatistics()
    for number, state in enumerate([IDLE, IDLE, SPEAKING, SPEAKING, SPEAKING, EASING]):
        counts.show(make_frame(state), float(number))
    assert (counts.frames, counts.idle_frames, counts.speaking_frames) == (6, 2, 3)
    assert counts.first_spoken == 2.0
    assert counts.late_frames == 0


def test_the_first_sound_is_the_first() -> None:
    counts = LiveStatistics()
    assert counts.first_heard is None
    counts.hear(0.0)
    counts.hear(7.0)
    assert counts.first_heard == 0.0


def test_late_frames_are_counted_for_ever_and_their_delays_kept_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "_KEPT", 3)
    counts = LiveStatistics()
    for number in range(5):
        counts.show(make_frame(SPEAKING, late=number / 10), 0.0)
    assert counts.late_frames == 4
    assert counts.late == [0.1, 0.2, 0.3]


def test_calls_are_shared_out_over_the_frames_that_were_drawn() -> None:
    counts = LiveStatistics()
    assert counts.calls_per_frame == 0.0
    for state in [IDLE] * 90 + [SPEAKING] * 8 + [EASING] * 2:
        counts.show(make_frame(state), 0.0)
    counts.denoiser_calls = 5
    assert counts.calls_per_frame == 0.5
