"""What an encoder gives plays from its begin and from each key frame, all in its place."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from echoexport.runtime import LiveFrame
from echoexport.runtime.errors import SettingError
from echoexport.runtime.serve.broadcast.boxes import Fragment
from echoexport.runtime.serve.broadcast.encoder import SOUND_RATE, LiveEncoder

FPS = 25
PER_FRAME = SOUND_RATE // FPS
LOUD = 40  # the frame at which it becomes loud and white


def encode(count: int) -> list[Fragment]:
    """Black and silent, then white and loud."""
    found: list[Fragment] = []
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, PER_FRAME).astype(np.float32)
    with LiveEncoder(size=(64, 64), fps=Fraction(FPS), give=found.append) as encoder:
        for index in range(count):
            loud = index >= LOUD
            picture = np.full((64, 64, 3), 255 * loud, np.uint8)
            samples = noise if loud else np.zeros(0, np.float32)
            moment = Fraction(index, FPS)
            encoder.write(
                LiveFrame(picture, samples, SOUND_RATE, index, moment, epoch=0, state="idle")
            )
    return found


def join(fragments: list[Fragment]) -> io.BytesIO:
    return io.BytesIO(b"".join(fragment.data for fragment in fragments))


def test_no_frame_is_lost_and_each_stands_in_its_place() -> None:
    with av.open(join(encode(80))) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == 80
    assert [frame.time for frame in frames] == pytest.approx([n / FPS for n in range(80)])


def test_picture_and_sound_change_within_forty_milliseconds() -> None:
    content = join(encode(80))
    with av.open(content) as video:
        seen = next(
            frame.time
            for frame in video.decode(video=0)
            if frame.to_ndarray(format="gray").mean() > 128
        )
    content.seek(0)
    with av.open(content) as video:
        heard = find_loud(list(video.decode(audio=0)))
    assert abs(seen - heard) < 0.04


def find_loud(parts: list[av.AudioFrame]) -> float:
    """When the sound begins, to the sample."""
    for part in parts:
        loud = np.abs(part.to_ndarray()[0]) > 0.1
        if loud.any():
            assert part.time is not None
            return float(part.time) + float(loud.argmax()) / SOUND_RATE
    raise AssertionError("there is no sound")


def test_a_viewer_who_comes_later_begins_at_a_key_frame() -> None:
    fragments = encode(80)
    second = [place for place, part in enumerate(fragments) if part.is_key][1]
    with av.open(join([fragments[0], *fragments[second:]])) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == 55
    assert frames[0].key_frame
    assert frames[0].time == pytest.approx(1.0)


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(SettingError, match="63x64"):
        LiveEncoder(size=(63, 64), fps=Fraction(FPS), give=lambda fragment: None)
