"""Sound becomes cues: the same in any chunks, every sample once, rest where nobody speaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.errors import AudioError, EchoExportError, SettingError
from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING
from echoexport.runtime.live.listening.hearing import HEARD_COLUMNS, HearingSettings
from echoexport.runtime.live.script import ONSET, SHUT, Cue, CueFrame, Script

BLOCK = 4
FRAME = 640  # samples at 25 fps

Piece = tuple[Any, int]
Cutting = Callable[[Any, int], Iterator[Any]]


def open_script(
    fps: Fraction = Fraction(25), *, sample_rate: int = 16_000, quiet_below: float = -3.5
) -> Script:
    return Script(HearingSettings(fps, 80, sample_rate, quiet_below))


def draw_sound(*spans: tuple[bool, float], rate: int = 16_000) -> np.ndarray:
    """Seconds of noise and of silence, (n,) int16."""
    noise = np.random.default_rng(7)
    parts = [
        noise.standard_normal(round(seconds * rate)) * (3000.0 if loud else 0.0)
        for loud, seconds in spans
    ]
    return np.concatenate([*parts, np.zeros(0)]).clip(-32768, 32767).astype(np.int16)


def speak(frames: int, *, rate: int = 16_000) -> np.ndarray:
    return draw_sound((True, frames / 25), rate=rate)


def rest(frames: int) -> np.ndarray:
    return np.zeros(frames * FRAME, np.int16)


def take_all(script: Script, block: int = BLOCK) -> list[Cue]:
    cues = []
    while (cue := script.next(block)) is not None:
        cues.append(cue)
    return cues


def ease_all(script: Script, block: int = BLOCK) -> list[Cue]:
    cues = []
    while (cue := script.ease(block)) is not None:
        cues.append(cue)
    return cues


def perform(
    script: Script, pieces: Sequence[Piece], *, greedy: bool = True, block: int = BLOCK
) -> list[Cue]:
    """Every cue of one utterance, taken as soon as it is there or all at its end."""
    cues = []
    for pcm, rate in pieces:
        script.hear(pcm, rate)
        cues += take_all(script, block) if greedy else []
    script.flush()
    return [*cues, *take_all(script, block), *ease_all(script, block)]


def list_frames(cues: Sequence[Cue]) -> list[CueFrame]:
    return [frame for cue in cues for frame in cue.frames]


def describe(cues: Sequence[Cue]) -> list[Any]:
    """All of the cues, to the last bit."""
    return [
        [
            (
                frame.samples.tobytes(),
                frame.state,
                None if frame.columns is None else frame.columns.tobytes(),
                frame.end_of_utterance,
            )
            for frame in cue.frames
        ]
        for cue in cues
    ]


def join_samples(cues: Sequence[Cue]) -> np.ndarray:
    return np.concatenate([frame.samples for frame in list_frames(cues)])


def find_ends(cues: Sequence[Cue]) -> list[int]:
    return [n for n, frame in enumerate(list_frames(cues)) if frame.end_of_utterance]


def cut_evenly(milliseconds: int) -> Cutting:
    def cut(pcm: Any, rate: int) -> Iterator[Any]:
        step = rate * milliseconds // 1000
        return (pcm[start : start + step] for start in range(0, len(pcm), step))

    return cut


def cut_at(places: Sequence[int]) -> Cutting:
    def cut(pcm: Any, _rate: int) -> Iterator[Any]:
        ends = sorted({place % (len(pcm) + 1) for place in places} | {0, len(pcm)})
        return (pcm[start:stop] for start, stop in pairwise(ends))

    return cut


CUTTINGS = st.one_of(
    st.sampled_from([1, 7, 20, 200, 1000, 60_000]).map(cut_evenly),
    st.lists(st.integers(0, 100_000), max_size=30).map(cut_at),
)
SPANS = st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.9)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    spans=SPANS,
    rate=st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100, 48_000]),
    sample_rate=st.sampled_from([16_000, 24_000, 44_100]),
    fps=st.sampled_from([Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(7)]),
    cut=CUTTINGS,
    greedy=st.booleans(),
    block=st.integers(1, 6),
)
def test_chunks_never_change_a_cue(
    spans: list[tuple[bool, float]],
    rate: int,
    sample_rate: int,
    fps: Fraction,
    cut: Cutting,
    greedy: bool,
    block: int,
) -> None:
    sound = draw_sound(*spans, rate=rate)
    whole = perform(open_script(fps, sample_rate=sample_rate), [(sound, rate)], block=block)
    pieces = [(piece, rate) for piece in cut(sound, rate)]
    script = open_script(fps, sample_rate=sample_rate)
    parts = perform(script, pieces, greedy=greedy, block=block)
    assert describe(parts) == describe(whole)
    held = math.ceil(sound.size * sample_rate / rate)
    samples = join_samples(whole)
    assert held <= samples.size < held + sample_rate / fps + 1
    assert not samples[held:].any()
    assert len(find_ends(whole)) == (1 if sound.size else 0)
    if rate == sample_rate:
        assert np.array_equal(samples[:held], sound.astype(np.float32) / 32768)


@settings(max_examples=15, deadline=None)
@given(SPANS, CUTTINGS, st.sampled_from(["bytes", "float", "stereo"]))
def test_nor_does_what_the_samples_come_as(
    spans: list[tuple[bool, float]], cut: Cutting, kind: str
) -> None:
    sound = draw_sound(*spans, rate=24_000)
    whole = perform(open_script(), [(sound, 24_000)])
    given_as: dict[str, Any] = {
        "bytes": sound.astype("<i2").tobytes(),
        "float": sound.astype(np.float64) / 32768,
        "stereo": np.stack([sound, sound], axis=1),
    }
    pieces = [(piece, 24_000) for piece in cut(given_as[kind], 24_000)]
    assert describe(perform(open_script(), pieces)) == describe(whole)


@settings(max_examples=15, deadline=None)
@given(CUTTINGS, CUTTINGS, st.integers(1, 20_000), st.integers(1, 20_000))
def test_nor_do_they_where_the_rate_changes_on_the_way(
    first_cut: Cutting, second_cut: Cutting, first: int, second: int
) -> None:
    sounds = [(speak(20, rate=48_000)[:first], 48_000), (speak(20, rate=8_000)[:second], 8_000)]
    cuts = (first_cut, second_cut)
    pieces = [
        (piece, rate)
        for cut, (sound, rate) in zip(cuts, sounds, strict=True)
        for piece in cut(sound, rate)
    ]
    assert describe(perform(open_script(), pieces)) == describe(perform(open_script(), sounds))


@settings(max_examples=30, deadline=None)
@given(st.lists(SPANS, min_size=2, max_size=3), CUTTINGS)
def test_nor_do_they_over_several_utterances(
    utterances: list[list[tuple[bool, float]]], cut: Cutting
) -> None:
    sounds = [draw_sound(*spans) for spans in utterances]
    at_once = open_script()
    for sound in sounds:
        at_once.hear(sound, 16_000)
        at_once.flush()
    wanted = [*take_all(at_once), *ease_all(at_once)]
    one_by_one = open_script()
    cues = []
    for sound in sounds:
        for piece in cut(sound, 16_000):
            one_by_one.hear(piece, 16_000)
            cues += take_all(one_by_one)
        one_by_one.flush()
        cues += take_all(one_by_one)
    assert describe([*cues, *ease_all(one_by_one)]) == describe(wanted)
    assert len(find_ends(wanted)) == len([sound for sound in sounds if sound.size])


def test_speech_is_drawn_from_two_frames_before_its_onset() -> None:
    cues = perform(open_script(), [(np.concatenate([rest(12), speak(10)]), 16_000)])
    states = [frame.state for frame in list_frames(cues)]
    onset = 12
    assert states[: onset - ONSET] == [IDLE] * (onset - ONSET)
    assert states[onset - ONSET : 22] == [SPEAKING] * (22 - onset + ONSET)
    assert set(states[22:]) == {EASING}
    assert all(len(cue.frames) == (BLOCK if cue.drawn else 1) for cue in cues)


def test_the_face_rests_after_ten_silent_frames() -> None:
    script = open_script()
    cues = perform(script, [(speak(8), 16_000)], block=1)
    quiet_from = 9  # the column at the end of frame 7 is frame 8's first
    assert len(list_frames(cues)) == quiet_from + SHUT
    assert not script.speaking
    assert script.next(1) is None
    assert script.ease(1) is None


def test_silence_within_an_utterance_is_drawn_no_longer_than_the_face_needs() -> None:
    sound = np.concatenate([speak(8), rest(500), speak(8)])
    cues = perform(open_script(), [(sound, 16_000)])
    frames = list_frames(cues)
    drawn = sum(frame.columns is not None for frame in frames)
    assert drawn <= 2 * (8 + 1 + SHUT + BLOCK) + ONSET
    silent = frames[9 + SHUT + BLOCK : 508 - ONSET]
    assert all(frame.state == IDLE and frame.samples.size == FRAME for frame in silent)
    assert join_samples(cues).size == sound.size


def test_an_utterance_of_silence_draws_nothing_and_still_ends() -> None:
    cues = perform(open_script(), [(rest(30), 16_000)])
    assert not any(cue.drawn for cue in cues)
    assert find_ends(cues) == [29]
    assert join_samples(cues).size == 30 * FRAME


@pytest.mark.parametrize("samples", [1, 17, FRAME - 1, FRAME, FRAME + 1])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_an_utterance_shorter_than_anything_has_a_frame_and_an_end(samples: int, rate: int) -> None:
    cues = perform(open_script(), [(speak(5)[:samples], rate)])
    frames = math.ceil(samples * 16_000 / rate / FRAME)
    assert find_ends(cues) == [frames - 1]
    assert join_samples(cues).size == frames * FRAME


@pytest.mark.parametrize("nothing", [b"", np.zeros(0, np.float32), np.zeros((0, 2), np.int16)])
def test_an_utterance_of_nothing_is_none(nothing: Any) -> None:
    script = open_script()
    assert perform(script, [(nothing, 16_000)] * 3) == []
    assert script.ended
    assert script.pending == 0.0
    assert not script.owes_end


def test_a_second_flush_says_nothing() -> None:
    script = open_script()
    cues = perform(script, [(speak(6), 16_000)])
    script.flush()
    assert not script.owes_end
    assert [*take_all(script), *ease_all(script)] == []
    assert find_ends(cues) == [5]


def test_what_comes_after_a_flush_begins_another_utterance() -> None:
    script = open_script()
    first = perform(script, [(speak(6), 16_000)])
    second = perform(script, [(speak(6), 16_000)])
    assert describe(second) == describe(first)


def test_the_next_utterance_follows_without_a_rest_between() -> None:
    script = open_script()
    for _ in range(2):
        script.hear(speak(6), 16_000)
        script.flush()
    cues = take_all(script)
    states = [frame.state for frame in list_frames(cues)]
    assert states == [SPEAKING] * 6 + [EASING] * 2 + [SPEAKING] * 6 + [EASING] * 2
    assert find_ends(cues) == [5, 13]


@pytest.mark.parametrize(
    ("chunk", "rate"),
    [
        (np.full(800, np.nan, np.float32), 16_000),
        (np.zeros(800, np.int64), 16_000),
        (np.zeros((4, 5, 6), np.float32), 16_000),
        (np.full(800, 5.0, np.float32), 16_000),
        (np.zeros(800, np.int16), 0),
        (b"\x00\x00\x00", 16_000.0),
        ([[0.0], [0.0, 0.0]], 16_000),
    ],
)
def test_a_bad_chunk_leaves_no_trace(chunk: Any, rate: Any) -> None:
    sound = draw_sound((True, 0.3), (False, 0.5), (True, 0.3), rate=24_000).tobytes()
    pieces = [(piece, 24_000) for piece in cut_at([2_000, 13_000, 20_000])(sound, 24_000)]
    wanted = perform(open_script(), pieces)
    script = open_script()
    cues = []
    for piece in pieces:
        with pytest.raises((AudioError, SettingError)) as caught:
            script.hear(chunk, rate)
        assert isinstance(caught.value, EchoExportError)
        script.hear(*piece)
        cues += take_all(script)
    script.flush()
    assert describe([*cues, *take_all(script), *ease_all(script)]) == describe(wanted)


def test_a_bad_chunk_begins_no_utterance() -> None:
    script = open_script()
    with pytest.raises(AudioError):
        script.hear(np.full(3, np.inf), 16_000)
    script.flush()
    assert not script.owes_end
    assert script.ended


def test_memory_is_that_of_a_few_seconds() -> None:
    script = open_script(sample_rate=24_000)
    sound = draw_sound((True, 0.6), (False, 0.4), rate=24_000)
    for _ in range(150):
        script.hear(sound, 24_000)
        take_all(script)
    (hearing,) = script._utterances
    held = [hearing._samples, hearing._mel.columns, hearing._mel.loudness]
    assert [array.stop for array in held[1:]] == [len(hearing._mel)] * 2
    assert len(hearing._mel) > 14_000
    assert held[0].stop - held[0].start <= 24_000
    assert max(array.stop - array.start for array in held[1:]) <= HEARD_COLUMNS + 100
