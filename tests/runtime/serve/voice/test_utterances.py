"""The n-th utterance that was pushed is the n-th that is shown."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np

from echoexport.runtime.live.frames import IDLE, SPEAKING, LiveFrame
from echoexport.runtime.serve.voice.utterances import Shown, UtteranceCount

NOTHING = np.zeros(0, np.float32)
PICTURE = np.zeros((2, 2, 3), np.uint8)
_INDEX = count()


def frame(*, heard: bool = True, last: bool = False, epoch: int = 0) -> LiveFrame:
    samples = np.ones(640, np.float32) if heard else NOTHING
    index = next(_INDEX)
    more: dict[str, Any] = {"end_of_utterance": last, "epoch": epoch}
    state = SPEAKING if heard else IDLE
    place = Fraction(index, 25)
    return LiveFrame(PICTURE, samples, 16_000, index, place, state=state, **more)


def look(counted: UtteranceCount, shown: LiveFrame, pending: float = 0.0) -> Shown:
    return counted.look_at(shown, pending=pending)


def test_two_utterances_begin_and_end_with_their_frames() -> None:
    counted = UtteranceCount()
    for _ in range(2):
        counted.push()
        counted.push()
        counted.flush()
    assert counted.begun == 2
    assert look(counted, frame(heard=False)) == Shown()
    assert look(counted, frame()) == Shown(begins=1)
    assert look(counted, frame()) == Shown()
    assert look(counted, frame(last=True)) == Shown(ended=1)
    assert look(counted, frame()) == Shown(begins=2, ended=1)
    assert look(counted, frame(last=True)) == Shown(ended=2)


def test_a_flush_without_sound_is_no_utterance() -> None:
    counted = UtteranceCount()
    counted.flush()
    counted.flush()
    assert counted.begun == 0


def test_frames_of_before_an_interrupt_say_nothing() -> None:
    counted = UtteranceCount()
    counted.push()
    counted.interrupt()
    counted.push()
    counted.flush()
    assert look(counted, frame(last=True)) == Shown(ended=1)
    assert look(counted, frame(epoch=1)) == Shown(begins=2, ended=1)
    assert look(counted, frame(epoch=1, last=True)) == Shown(ended=2)


def test_an_end_that_was_left_out_is_told_once_all_is_quiet() -> None:
    counted = UtteranceCount()
    counted.push()
    counted.flush()
    shown = [look(counted, frame(heard=False)).ended for _ in range(60)]
    assert shown[0] == 0
    assert shown[-1] == 1


def test_silence_of_what_is_still_being_pushed_is_no_end() -> None:
    counted = UtteranceCount()
    counted.push()
    assert [look(counted, frame(heard=False)).ended for _ in range(80)][-1] == 0
    counted.flush()
    assert [look(counted, frame(heard=False), pending=1.0).ended for _ in range(80)][-1] == 0
