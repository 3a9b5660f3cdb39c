"""Latents become pictures one frame at a time, and pixels hold still from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.decoding.decoder import PictureDecoder
from echoexport.runtime.trace.tracer import Tracer


class Grey:
    """Stands in for a lease: its decoder's picture is as bright as the latents, all over."""

    def __init__(self) -> None:
        self.tracer = Tracer()
        self.asked: list[str] = []

    def network(self, name: str) -> Any:
        self.asked.append(name)
        return lambda inputs: {
            "picture": np.full((1, 3, 2, 5), inputs["latents"].mean(), np.float32)
        }


def latents_of(level: int) -> np.ndarray:
    """Latents that the grey decoder shows as a level of 255."""
    return np.full((1, 4, 1, 1), (level + 0.5) / 255 * 2 - 1, np.float32)


def levels_of(frames: Iterator[np.ndarray]) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in frames]


def test_a_frames_picture_is_rgb_rows_first(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle, bundle.lease() as networks:
        picture = PictureDecoder(networks).decode(np.zeros((1, 4, 4, 4), np.float32))
        assert networks.calls()["vae_decoder"] == 1
    assert (picture.shape, picture.dtype) == ((32, 32, 3), np.uint8)
    assert (picture == 127).all()  # zeros, the middle of -1 to 1, cut to a whole level


def test_frames_come_in_their_order_each_when_it_is_asked_for() -> None:
    grey: Any = Grey()
    frames = PictureDecoder(grey).show(latents_of(level) for level in (10, 200, 90))
    assert grey.asked == []
    assert int(next(frames)[0, 0, 0]) == 10
    assert grey.asked == ["vae_decoder"]
    assert levels_of(frames) == [200, 90]


@pytest.mark.parametrize(
    ("hold", "shown"), [(0, [10, 12, 13, 11]), (2, [10, 10, 13, 13]), (3, [10, 10, 10, 10])]
)
def test_small_changes_wait_until_they_have_added_up(hold: int, shown: list[int]) -> None:
    grey: Any = Grey()
    frames = PictureDecoder(grey, hold=hold).show(latents_of(level) for level in (10, 12, 13, 11))
    assert levels_of(frames) == shown


def test_a_frame_by_itself_and_a_new_clip_know_nothing_of_the_last_one() -> None:
    grey: Any = Grey()
    decoder = PictureDecoder(grey, hold=5)
    assert levels_of(decoder.show([latents_of(10), latents_of(12)])) == [10, 10]
    assert levels_of(decoder.show([latents_of(12)])) == [12]
    assert int(decoder.decode(latents_of(11))[0, 0, 0]) == 11


def test_each_frame_is_told_with_its_number() -> None:
    grey: Any = Grey()
    list(PictureDecoder(grey).show([latents_of(1), latents_of(2)]))
    spans = [(span.name, span.category, span.arguments) for span in grey.tracer.spans()]
    assert spans == [("decode", "decode", {"frame": 0}), ("decode", "decode", {"frame": 1})]
