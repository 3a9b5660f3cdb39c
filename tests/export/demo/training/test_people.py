"""Many people at once are the people drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.export.demo.training.control import StopTrainingError
from echoexport.export.demo.training.people import gather_people
from echoexport.export.demo.world.person import draw_person, stack_people

pytestmark = pytest.mark.usefixtures("one_thread")


def silent(done: int, total: int) -> None:
    assert 0 < done <= total


def test_people_drawn_by_several_processes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoexport.export.demo.training.people._LEAST_SEEDS_TO_SHARE", 4)
    monkeypatch.setattr("echoexport.export.demo.training.people._SHARE", 3)
    wanted = stack_people([draw_person(i) for i in range(5, 13)])
    told: list[tuple[int, int]] = []
    several = gather_people(range(5, 13), workers=2, report=lambda *said: told.append(said))
    np.testing.assert_array_equal(several, wanted)
    assert told == [(3, 8), (6, 8), (8, 8)]
    np.testing.assert_array_equal(gather_people(range(5, 13), workers=1, report=silent), wanted)


def test_what_the_report_raises_ends_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoexport.export.demo.training.people._SHARE", 2)

    def stop(done: int, total: int) -> None:
        raise StopTrainingError(f"{done} of {total}")

    with pytest.raises(StopTrainingError, match="2 of 1000"):
        gather_people(range(1000), workers=1, report=stop)
