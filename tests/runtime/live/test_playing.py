"""A voice played through a session goes in at its own pace, and what comes out is measured."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fixtures.live_stage import FRAME, RATE, make_voice

from echoexport.runtime import open_bundle
from echoexport.runtime.errors import AudioError
from echoexport.runtime.live.opening import Conversation
from echoexport.runtime.live.playing import PlayLog, cut_chunks, measure_resident, play, read_pcm
from echoexport.runtime.live.scheduling.clock import MonotonicClock


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []
        self.sound: list[np.ndarray] = []

    def write(self, frame: np.ndarray, samples: np.ndarray) -> None:
        self.pictures.append(frame)
        self.sound.append(samples)


@pytest.fixture
def talk(null_bundle: Path) -> Iterator[Callable[..., Conversation]]:
    """A function that opens a session of a grey portrait."""
    with open_bundle(null_bundle) as bundle:
        grey = np.full((64, 64, 3), 128, np.uint8)
        yield lambda **settings: bundle.live(grey, fps=25, **settings)


def test_all_of_a_voice_is_spoken_and_its_delay_measured(
    talk: Callable[..., Conversation],
) -> None:
    voice = make_voice(0.6)
    sink = Kept()
    with talk() as session:
        log = play(session, cut_chunks(voice), sink, clock=MonotonicClock(), paced=True)
    np.testing.assert_array_equal(np.concatenate(sink.sound)[: voice.size], voice)
    assert log.pushed == voice.size
    assert len(log.delays) == 15
    # a block's own length and the look-ahead at least, on a machine that does nothing
    assert 0.2 < np.median(log.delays) < 1.0
    assert log.first_frame is not None
    assert log.resident


def test_an_unpaced_voice_is_spoken_as_fast_as_it_can_be_drawn(
    talk: Callable[..., Conversation],
) -> None:
    voice = make_voice(20.0)
    sink = Kept()
    with talk(pace="fast", most_pending=4.0) as session:
        begun = MonotonicClock().now()
        play(session, cut_chunks(voice), sink, clock=MonotonicClock(), paced=False)
        assert MonotonicClock().now() - begun < 15
    np.testing.assert_array_equal(np.concatenate(sink.sound)[: voice.size], voice)


def test_a_voice_that_breaks_off_ends_with_its_own_error(
    talk: Callable[..., Conversation],
) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield make_voice(0.1)
        raise AudioError("the microphone is gone")

    with talk(pace="fast") as session, pytest.raises(AudioError, match="microphone"):
        play(session, broken(), Kept(), clock=MonotonicClock(), paced=False)


def test_a_sink_that_fails_ends_the_playing(talk: Callable[..., Conversation]) -> None:
    class Full:
        def write(self, frame: np.ndarray, samples: np.ndarray) -> None:
            raise OSError("disk full")

    with talk() as session, pytest.raises(OSError, match="disk full"):
        play(session, cut_chunks(make_voice(30)), Full(), clock=MonotonicClock(), paced=True)


def test_a_pipe_of_pcm_is_read_as_it_comes_whatever_its_pieces() -> None:
    wanted = (make_voice(0.1) * 32767).astype("<i2")
    data = wanted.tobytes() + b"\x01"

    class Dripping(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(min(size or 1, 33))

    found = np.concatenate(list(read_pcm(Dripping(data))))
    np.testing.assert_array_equal(found, wanted.astype(np.float32) / np.float32(32768))


def test_a_delay_is_counted_from_the_push_of_a_frames_first_sample() -> None:
    from fractions import Fraction

    from echoexport.runtime.live.frames import SPEAKING, LiveFrame

    log = PlayLog()
    for chunk in range(10):
        log.push(320, 1.0 + 0.02 * chunk)
    picture = np.zeros((2, 2, 3), np.uint8)
    for index in range(5):
        samples = np.zeros(FRAME, np.float32)
        frame = LiveFrame(picture, samples, RATE, index, Fraction(index, 25), 0, SPEAKING)
        log.show(frame, 1.3 + 0.04 * index)
    np.testing.assert_allclose(log.delays, 0.3)
    assert log.first_frame == pytest.approx(0.3)


def test_the_memory_of_this_process_is_told() -> None:
    assert measure_resident() > 1e7
