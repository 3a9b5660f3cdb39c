"""A session steps down when it is late and up again when there is room, never in a hurry."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.live.scheduling.ladder import Ladder, Rung, list_rungs

PERIOD = 0.16
EASY = 0.1  # seconds of slack
LATE = -0.01


def climb_down(steps: int = 4, *, by: int) -> Ladder:
    """A ladder on a lower rung, at ``by`` seconds."""
    ladder = Ladder(list_rungs(steps), fixed=False)
    for second in range(by):
        ladder.judge(float(second), slack=LATE, period=PERIOD, load=0.5)
    assert ladder.place == by
    return ladder


def test_rungs_take_less_and_less_work() -> None:
    rungs = list_rungs(4)
    assert rungs == (Rung(4), Rung(3), Rung(2), Rung(1), Rung(1, every=2))
    assert [rung.work for rung in rungs] == [4, 3, 2, 1, 0.5]
    assert list_rungs(1) == (Rung(1), Rung(1, every=2))
    assert all(above.work > below.work for above, below in pairwise(rungs))


def test_a_late_block_steps_down_at_once() -> None:
    ladder = Ladder(list_rungs(2), fixed=False)
    ladder.judge(50.0, slack=LATE, period=PERIOD, load=0.5)
    assert ladder.rung == Rung(1)
    assert (ladder.steps_down, ladder.steps_up) == (1, 0)


def test_late_blocks_step_down_once_a_second_and_no_further_than_there_are_rungs() -> None:
    ladder = Ladder(list_rungs(2), fixed=False)
    places = []
    for tenth in range(50):
        ladder.judge(tenth / 10, slack=LATE, period=PERIOD, load=0.5)
        places.append(ladder.place)
    assert places[:10] == [1] * 10
    assert places[10:] == [2] * 40
    assert ladder.steps_down == 2


def test_two_easy_seconds_step_up() -> None:
    ladder = climb_down(by=1)
    for tenth in range(20):
        ladder.judge(10 + tenth / 10, slack=EASY, period=PERIOD, load=0.3)
        assert ladder.place == 1
    ladder.judge(12.0, slack=EASY, period=PERIOD, load=0.3)
    assert ladder.place == 0
    assert (ladder.steps_down, ladder.steps_up) == (1, 1)


@pytest.mark.parametrize("slack", [0.0, 0.1 * PERIOD - 1e-6, LATE])
def test_a_block_that_was_just_in_time_begins_the_wait_again(slack: float) -> None:
    ladder = climb_down(by=1)
    ladder.judge(10.0, slack=EASY, period=PERIOD, load=0.3)
    ladder.judge(11.9, slack=slack, period=PERIOD, load=0.3)
    place = ladder.place
    ladder.judge(12.1, slack=EASY, period=PERIOD, load=0.3)
    ladder.judge(14.0, slack=EASY, period=PERIOD, load=0.3)
    assert ladder.place == place
    ladder.judge(14.1, slack=EASY, period=PERIOD, load=0.3)
    assert ladder.place == place - 1


@pytest.mark.parametrize("load", [0.2, 0.45, 0.74])
def test_whoever_was_let_in_climbs_back_to_all_steps(load: float) -> None:
    ladder = climb_down(by=4)
    for tenth in range(100):
        ladder.judge(10 + tenth / 10, slack=EASY, period=PERIOD, load=load)
    assert ladder.rung == Rung(4)
    assert ladder.steps_up == 4


def test_nobody_climbs_to_what_the_workers_cannot_do() -> None:
    ladder = climb_down(by=4)
    for tenth in range(100):
        ladder.judge(10 + tenth / 10, slack=EASY, period=PERIOD, load=1.4)
    assert ladder.rung == Rung(2)  # half of 1.4 fits, three quarters do not


def test_a_fixed_ladder_stays() -> None:
    ladder = Ladder(list_rungs(4), fixed=True)
    for second in range(20):
        ladder.judge(float(second), slack=-5.0, period=PERIOD, load=2.0)
    assert (ladder.place, ladder.steps_down) == (0, 0)


@given(
    st.lists(
        st.tuples(st.floats(0, 0.5), st.floats(-0.1, 0.2), st.floats(0, 2)), min_size=1, max_size=80
    )
)
def test_no_two_changes_lie_less_than_a_second_apart(
    blocks: list[tuple[float, float, float]],
) -> None:
    ladder = Ladder(list_rungs(3), fixed=False)
    now = 100.0
    changes = []
    for passed, slack, load in blocks:
        now += passed
        place = ladder.place
        ladder.judge(now, slack=slack, period=PERIOD, load=load)
        assert abs(ladder.place - place) <= 1
        if ladder.place != place:
            changes.append(now)
    assert all(after - before >= 1.0 for before, after in pairwise(changes))
    assert ladder.place == ladder.steps_down - ladder.steps_up
