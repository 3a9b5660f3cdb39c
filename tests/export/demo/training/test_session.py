"""A session: when it is over, who is told, where its random numbers come from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from echoexport.export.demo.training.session import Session, StopTrainingError, count_processors

MakeSession = Callable[..., Session]


pytestmark = pytest.mark.usefixtures("one_thread")


def test_generators_differ_by_stage_step_and_seed(make_session: MakeSession) -> None:
    session = make_session()
    other = make_session()
    other.seed = 2
    generators = [
        session.generator("vae", 3),
        session.generator("vae", 4),
        session.generator("unets", 3),
    ]
    drawn = [torch.rand(4, generator=g).tolist() for g in [*generators, other.generator("vae", 3)]]
    assert len({tuple(numbers) for numbers in drawn}) == 4
    assert torch.rand(4, generator=session.generator("vae", 3)).tolist() == drawn[0]


def test_a_deadline_ends_a_session_and_so_does_a_wish(make_session: MakeSession) -> None:
    assert not make_session().over
    assert make_session(stop=True).over
    assert make_session(deadline=time.monotonic() - 1).over
    assert make_session().deadline == math.inf


def test_progress_is_told_sparingly_and_stops_when_the_session_is_over(
    make_session: MakeSession,
) -> None:
    said: list[str] = []
    session = make_session(tell=said.append)
    session.report("faces", 1, 9)
    session._told -= 60
    session.report("faces", 2, 9)
    session.report("faces", 3, 9)
    assert said == ["faces: 2 of 9"]
    session.stop = True
    with pytest.raises(StopTrainingError, match="faces: stopped at 4 of 9"):
        session.report("faces", 4, 9)


def test_only_the_stage_that_was_asked_for_ends_the_session(make_session: MakeSession) -> None:
    session = make_session(until="vae")
    session.leave_after("audio")
    with pytest.raises(StopTrainingError, match="vae: done"):
        session.leave_after("vae")


def test_there_is_a_worker_for_every_processor(tmp_path: Path) -> None:
    assert Session(tmp_path, torch.device("cpu"), 1, print).workers == count_processors() >= 1
