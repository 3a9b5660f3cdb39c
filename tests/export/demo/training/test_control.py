"""A control: when it is over, who is told, where its random numbers come from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from echoexport.export.demo.training.control import (
    StopTrainingError,
    TrainingControl,
    count_processors,
)

MakeControl = Callable[..., TrainingControl]


pytestmark = pytest.mark.usefixtures("one_thread")


def test_generators_differ_by_stage_step_and_seed(make_control: MakeControl) -> None:
    control = make_control()
    other = make_control()
    other.seed = 2
    generators = [
        control.generator("vae", 3),
        control.generator("vae", 4),
        control.generator("unets", 3),
    ]
    drawn = [torch.rand(4, generator=g).tolist() for g in [*generators, other.generator("vae", 3)]]
    assert len({tuple(numbers) for numbers in drawn}) == 4
    assert torch.rand(4, generator=control.generator("vae", 3)).tolist() == drawn[0]


def test_a_deadline_ends_a_run_and_so_does_a_wish(make_control: MakeControl) -> None:
    assert not make_control().over
    assert make_control(stop=True).over
    assert make_control(deadline=time.monotonic() - 1).over
    assert make_control().deadline == math.inf


def test_progress_is_told_sparingly_and_stops_when_the_run_is_over(
    make_control: MakeControl,
) -> None:
    said: list[str] = []
    control = make_control(tell=said.append)
    control.report("faces", 1, 9)
    control._told -= 60
    control.report("faces", 2, 9)
    control.report("faces", 3, 9)
    assert said == ["faces: 2 of 9"]
    control.stop = True
    with pytest.raises(StopTrainingError, match="faces: stopped at 4 of 9"):
        control.report("faces", 4, 9)


def test_only_the_stage_that_was_asked_for_ends_the_run(make_control: MakeControl) -> None:
    control = make_control(until="vae")
    control.leave_after("audio")
    with pytest.raises(StopTrainingError, match="vae: done"):
        control.leave_after("vae")


def test_there_is_a_worker_for_every_processor(tmp_path: Path) -> None:
    assert (
        TrainingControl(tmp_path, torch.device("cpu"), 1, print).workers == count_processors() >= 1
    )
