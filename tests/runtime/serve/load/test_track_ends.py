"""From the time stamps of fragments: how many pictures, and how far picture and sound reach."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from echoexport.runtime.live.frames import LiveFrame
from echoexport.runtime.serve.broadcast.boxes import Fragment
from echoexport.runtime.serve.broadcast.encoder import SOUND_RATE, LiveEncoder
from echoexport.runtime.serve.load.track_ends import TrackEnds

FRAME = SOUND_RATE // 25


def encode(frames: int, *, samples: int = FRAME) -> list[Fragment]:
    """A grey video whose frames have so many samples each."""
    found: list[Fragment] = []
    picture = np.full((32, 32, 3), 90, np.uint8)
    with LiveEncoder(size=(32, 32), fps=Fraction(25), give=found.append) as encoder:
        for index in range(frames):
            encoder.write(
                LiveFrame(
                    picture=picture,
                    samples=np.zeros(samples, np.float32),
                    sample_rate=SOUND_RATE,
                    index=index,
                    timestamp=Fraction(index, 25),
                    epoch=0,
                    state="speaking",
                    end_of_utterance=False,
                    steps=2,
                    late=0.0,
                )
            )
    return found


def test_pictures_are_counted_and_tracks_keep_together() -> None:
    ends = TrackEnds()
    assert sum(ends.take(fragment.data) for fragment in encode(100)) >= 95
    assert ends.frames == 100
    offset = ends.find_offset()
    assert offset is not None
    assert abs(offset) < 0.05


def test_nothing_is_known_before_both_have_begun() -> None:
    ends = TrackEnds()
    head = next(fragment for fragment in encode(3) if fragment.is_head)
    assert not ends.take(head.data)
    assert ends.find_offset() is None


def test_it_may_begin_in_the_middle_as_a_viewer_does() -> None:
    ends = TrackEnds()
    fragments = encode(100)
    for fragment in [*(one for one in fragments if one.is_head), *fragments[-20:]]:
        ends.take(fragment.data)
    assert 5 < ends.frames < 25
    assert abs(ends.find_offset() or 9) < 0.05
