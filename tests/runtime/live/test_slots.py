"""Each frame of a block has the state from which a stream that ends there goes on."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.runtime.live.drawing.stream_state import PastFrame, StreamState
from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING
from echoexport.runtime.live.script import CueFrame
from echoexport.runtime.live.slots import Slot, enter_states

KEEP = 3
NOTHING = np.zeros(0, np.float32)


def make_slots(count: int) -> list[Slot]:
    cue = CueFrame(NOTHING, SPEAKING, NOTHING, end_of_utterance=False)
    return [Slot(cue, 0, 2) for _ in range(count)]


def make_past(number: int, level: float) -> PastFrame:
    return PastFrame(number, np.full((1, 4, 2, 2), level, np.float32), NOTHING)


def read_levels(state: StreamState | None) -> list[float]:
    assert state is not None
    return [float(frame.latents[0, 0, 0, 0]) for frame in state.past]


def test_a_slot_has_the_frames_up_to_its_own() -> None:
    before = StreamState((make_past(0, 1), make_past(1, 2), make_past(2, 3)), 3)
    features = {999: {"past.a": NOTHING}}
    drawn = (make_past(3, 10), make_past(4, 20))
    after = StreamState((before.past[-1], *drawn), 5, features)
    slots = make_slots(2)
    enter_states(slots, before=before, after=after, every=1, keep=KEEP)
    assert [read_levels(slot.state) for slot in slots] == [[2, 3, 10], [3, 10, 20]]
    states = [slot.state for slot in slots if slot.state is not None]
    assert [state.next_number for state in states] == [4, 5]
    assert all(state.features is features for state in states)
    assert states[-1] == after
    assert read_levels(before) == [1, 2, 3]


def test_frames_between_those_that_are_drawn_lie_between_them() -> None:
    before = StreamState((make_past(0, 0), make_past(1, 4)), 2)
    after = StreamState((make_past(2, 8), make_past(3, 2)), 4)
    slots = make_slots(4)
    enter_states(slots, before=before, after=after, every=2, keep=KEEP)
    assert [read_levels(slot.state) for slot in slots] == [
        [0, 4, 6],
        [0, 4, 8],
        [4, 8, 5],
        [4, 8, 2],
    ]


def test_before_the_first_frame_of_all_there_is_nothing_to_come_from() -> None:
    after = StreamState((make_past(0, 8),), 1)
    slots = make_slots(2)
    enter_states(slots, before=StreamState(), after=after, every=2, keep=KEEP)
    assert [read_levels(slot.state) for slot in slots] == [[8], [8]]


@pytest.mark.parametrize(("state", "resting"), [(IDLE, True), (SPEAKING, False), (EASING, False)])
def test_only_frames_of_the_loop_rest(state: str, resting: bool) -> None:
    slot = Slot(CueFrame(NOTHING, state, None, end_of_utterance=False), 0, 0)
    assert slot.resting is resting
