"""A player follows its sound device, however its clock differs from the session's."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from echoexport.runtime.live.frames import IDLE, SPEAKING, LiveFrame
from echoexport.runtime.live.player import Player

RATE = 16_000
FRAME = 640
PICTURE = np.zeros((2, 2, 3), np.uint8)


class Device:
    """A sound card in simulated time, quick or slow by some share."""

    def __init__(self, drift: float = 0.0) -> None:
        self.rate = RATE * (1 + drift)
        self.written = 0
        self.heard = 0.0
        self.dry = 0
        self.sound: list[np.ndarray] = []

    def write(self, samples: np.ndarray) -> None:
        self.written += samples.size
        self.sound.append(samples)

    def played(self) -> int:
        return int(self.heard)

    def pass_time(self, seconds: float) -> None:
        self.heard += seconds * self.rate
        if self.heard > self.written:
            self.dry += 1
            self.heard = float(self.written)


def make_frame(index: int, *, spoken: bool) -> LiveFrame:
    samples = np.full(FRAME if spoken else 0, 0.5, np.float32)
    state = SPEAKING if spoken else IDLE
    return LiveFrame(PICTURE, samples, RATE, index, Fraction(index, 25), 0, state)


@pytest.mark.parametrize("drift", [-12 * 3e-4, 0.0, 12 * 3e-4])
def test_what_a_clock_drifts_in_twelve_hours_parts_no_sound_from_its_picture(
    drift: float,
) -> None:
    device = Device(drift)
    shown = list[LiveFrame]()
    player = Player(device, shown.append, sample_rate=RATE, fps=25)
    levels = []
    for index in range(3600 * 25):  # an hour at twelve times the drift of a common card
        player.take(make_frame(index, spoken=index % 500 < 250))
        device.pass_time(0.04)
        levels.append(player.buffered)
        shown.clear()
    assert device.dry == 0
    assert max(levels[100:]) - min(levels[100:]) < 0.1
    assert abs(levels[-1] - levels[600]) < 0.04


def test_a_picture_is_shown_when_its_first_sample_is_heard() -> None:
    device = Device()
    shown = list[int]()
    player = Player(device, lambda frame: shown.append(frame.index), sample_rate=RATE, fps=25)
    for index in range(50):
        player.take(make_frame(index, spoken=True))
        device.pass_time(0.04)
    player.show_due()
    # 60 ms lie before the first
    assert shown[-1] == 48
    assert shown == sorted(shown)


def test_spoken_samples_are_never_changed() -> None:
    device = Device(5e-4)
    player = Player(device, lambda frame: None, sample_rate=RATE, fps=25)
    for index in range(500):
        device.pass_time(0.04)
        player.take(make_frame(index, spoken=index % 2 == 0))
    loud = [part for part in device.sound if part.any()]
    assert len(loud) == 250
    assert all(part.size == FRAME and (part == 0.5).all() for part in loud)
    assert player.corrected != 0


def test_pictures_that_were_overtaken_are_left_out() -> None:
    device = Device()
    shown = list[int]()
    player = Player(device, lambda frame: shown.append(frame.index), sample_rate=RATE, fps=25)
    for index in range(10):
        player.take(make_frame(index, spoken=True))
    device.pass_time(0.3)
    player.show_due()
    assert shown == [6]
    player.clear()
    device.pass_time(1)
    player.show_due()
    assert shown == [6]
