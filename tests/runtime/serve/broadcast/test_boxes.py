"""A stream is cut at its boxes, however its bytes come."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from echoexport.runtime import LiveFrame
from echoexport.runtime.errors import OutputError
from echoexport.runtime.serve.broadcast.boxes import Fragment, FragmentCutter, name_codecs
from echoexport.runtime.serve.broadcast.encoder import SOUND_RATE, LiveEncoder


def make_frame(index: int) -> LiveFrame:
    drawn = np.random.default_rng(0)  # the same picture: x264 begins anew where all changes
    picture = drawn.integers(0, 255, (32, 48, 3)).astype(np.uint8)
    samples = np.zeros(0, np.float32)
    moment = Fraction(index, 25)
    return LiveFrame(picture, samples, SOUND_RATE, index, moment, epoch=0, state="idle")


@pytest.fixture(scope="module")
def fragments() -> list[Fragment]:
    """Of 60 frames."""
    found: list[Fragment] = []
    with LiveEncoder(size=(48, 32), fps=Fraction(25), give=found.append) as encoder:
        for index in range(60):
            encoder.write(make_frame(index))
    return found


def test_the_head_comes_first_and_once(fragments: list[Fragment]) -> None:
    assert [fragment.is_head for fragment in fragments].count(True) == 1
    assert fragments[0].is_head


def test_a_key_frame_comes_each_second(fragments: list[Fragment]) -> None:
    assert sum(fragment.is_key for fragment in fragments) == 3


def test_there_is_about_a_fragment_for_each_frame_and_for_its_sound(
    fragments: list[Fragment],
) -> None:
    assert 100 < len(fragments) < 140


def test_the_same_pieces_come_of_the_same_bytes_in_any_chunks(fragments: list[Fragment]) -> None:
    whole = b"".join(fragment.data for fragment in fragments)
    for size in (1, 7, 1000, len(whole)):
        cutter = FragmentCutter()
        chunks = [whole[place : place + size] for place in range(0, len(whole), size)]
        cut = [fragment for chunk in chunks for fragment in cutter.cut(chunk)]
        assert cut == fragments


def test_the_codecs_are_named_as_a_browser_wants_them(fragments: list[Fragment]) -> None:
    assert name_codecs(fragments[0].data).startswith("avc1.42")
    with pytest.raises(OutputError, match=r"names no H\.264"):
        name_codecs(b"ftyp and nothing else")


@pytest.mark.parametrize("data", [struct.pack(">I4s", 3, b"moof"), b"\xff" * 16])
def test_what_is_no_box_is_refused(data: bytes) -> None:
    with pytest.raises(OutputError, match="a box"):
        FragmentCutter().cut(data)


def test_a_fragment_without_video_is_no_place_to_begin() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    def moof(track: int, flags: int) -> bytes:
        header = box(b"tfhd", struct.pack(">III", 0x20, track, flags))
        run = box(b"trun", struct.pack(">II", 0, 1))
        return box(b"moof", box(b"traf", header + run))

    cut: Callable[[bytes], list[Fragment]] = FragmentCutter().cut
    assert [part.is_key for part in cut(moof(1, 0) + box(b"mdat", b""))] == [True]
    assert [part.is_key for part in cut(moof(1, 0x10000) + box(b"mdat", b""))] == [False]
    assert [part.is_key for part in cut(moof(2, 0) + box(b"mdat", b""))] == [False]
