"""On real engines too: chunks never change a frame, and a first window is the clips'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fixtures.live_stage import RATE, make_voice

from echoexport.runtime import Bundle, LiveFrame, open_bundle

pytestmark = pytest.mark.slow

PORTRAIT = np.random.default_rng(4).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(params=["openvino", "onnxruntime"])
def bundle(request: pytest.FixtureRequest, build_tiny: Callable[..., Path]) -> Iterator[Bundle]:
    """A bundle of random weights on both engines for CPUs."""
    pytest.importorskip(request.param)
    backend = {"onnxruntime": "ort"}.get(request.param, request.param)
    with open_bundle(build_tiny(live=True, size=(64, 64)), backend=backend) as opened:
        yield opened


def speak(bundle: Bundle, chunks: list[np.ndarray], **settings: object) -> list[LiveFrame]:
    wanted = {"fps": 25, "steps": 2, "pace": "fast", "idle_seconds": 0.2, **settings}
    with bundle.live(PORTRAIT, deterministic=True, **wanted) as talk:
        frames = []
        for chunk in chunks:
            talk.push(chunk, RATE)
            while talk.due_in() == 0 and (frame := talk.next_frame()) is not None:
                frames.append(frame)
        talk.finish()
        return [*frames, *talk]


def cut(voice: np.ndarray, *sizes: int) -> list[np.ndarray]:
    places = np.cumsum(np.resize(sizes, voice.size))
    return [part for part in np.split(voice, places[places < voice.size]) if part.size]


@pytest.mark.parametrize("mode", ["renoised", "cached"])
def test_any_chunks_give_the_same_pictures_bit_for_bit(bundle: Bundle, mode: str) -> None:
    voice = make_voice(0.5)
    wanted = speak(bundle, [voice], mode=mode)
    assert len({frame.picture.tobytes() for frame in wanted}) > 12
    for sizes in ((320,), (5, 4000, 77)):
        found = speak(bundle, cut(voice, *sizes), mode=mode)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.picture, other.picture)
            np.testing.assert_array_equal(one.samples, other.samples)


def test_what_is_said_is_what_is_drawn(bundle: Bundle) -> None:
    one = speak(bundle, [make_voice(0.3)])
    other = speak(bundle, [make_voice(0.3, seed=5)])
    assert any((a.picture != b.picture).any() for a, b in zip(one[4:], other[4:], strict=False))


def test_two_sessions_at_once_give_what_each_gives_alone(bundle: Bundle) -> None:
    voices = [make_voice(0.3, seed=seed) for seed in (1, 2)]
    wanted = [speak(bundle, [voice]) for voice in voices]
    settings = {"fps": 25, "steps": 2, "pace": "fast", "idle_seconds": 0.2, "deterministic": True}
    with bundle.live(PORTRAIT, **settings) as one, bundle.live(PORTRAIT, **settings) as other:
        for talk, voice in zip((one, other), voices, strict=True):
            talk.push(voice, RATE)
            talk.finish()
        found = [list(one), list(other)]
    for frames, alone in zip(found, wanted, strict=True):
        assert len(frames) == len(alone)
        for a, b in zip(frames, alone, strict=True):
            np.testing.assert_array_equal(a.picture, b.picture)
