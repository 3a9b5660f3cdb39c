"""One stage: a stop changes nothing, what is done stays, a strange file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
from echoexport.export.demo.training.recipe import StagePlan
from echoexport.export.demo.training.stage import Objective, find_rate, run_stage
from echoexport.runtime.errors import CheckpointError, OutputError

PLAN = StagePlan(9, 5, 1e-2, warmup=3, average=0.9)


MakeControl = Callable[..., TrainingControl]


pytestmark = pytest.mark.usefixtures("one_thread")


class Line(nn.Module):
    """A tiny network with a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def make_line() -> Line:
    torch.manual_seed(4)
    return Line()


def objective_of(line: Line, *, drawn: list[Tensor] | None = None) -> Objective:
    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        x = torch.randn(PLAN.batch, 3, generator=generator)
        if drawn is not None:
            drawn.append(x)
        return x, x.sum(dim=1, keepdim=True)

    def loss(x: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        error = (line.net(x) - wanted).square().mean()
        return error, {"half": error / 2}

    return Objective(draw, loss)


def stop_at(control: TrainingControl, objective: Objective, *, step: int) -> Objective:
    """The same objective; asks the run to leave once ``step`` steps are drawn."""
    count = 0

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        nonlocal count
        count += 1
        control.stop = count >= step
        return objective.draw(generator)

    return Objective(draw, objective.loss)


def run_through(control: TrainingControl, plan: StagePlan = PLAN) -> Line:
    line = make_line()
    run_stage("line", line, objective_of(line), plan=plan, control=control)
    return line


def log_of(control: TrainingControl) -> list[dict[str, Any]]:
    return [
        json.loads(text)
        for text in (control.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.parametrize("step", range(1, PLAN.steps))
def test_a_stage_that_stops_and_goes_on_ends_with_the_same_bits(
    make_control: MakeControl, step: int
) -> None:
    straight = run_through(make_control("straight"))
    control = make_control("stopped")
    line = make_line()
    with pytest.raises(StopTrainingError, match=f"line: stopped at step {step} of 9; state saved"):
        run_stage(
            "line",
            line,
            stop_at(control, objective_of(line), step=step),
            plan=PLAN,
            control=control,
        )
    again = Line()  # other first weights: all of them come from the state
    run_stage("line", again, objective_of(again), plan=PLAN, control=make_control("stopped"))
    for key, value in straight.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_a_stage_stopped_at_every_step_keeps_weights_average_and_optimizer(
    make_control: MakeControl,
) -> None:
    straight = make_control("straight")
    control = make_control("often")
    line = make_line()
    with pytest.raises(StopTrainingError):
        run_stage(
            "line", line, stop_at(straight, objective_of(line), step=6), plan=PLAN, control=straight
        )
    for _ in range(6):
        control.stop = False
        line = make_line()
        with pytest.raises(StopTrainingError):
            run_stage(
                "line",
                line,
                stop_at(control, objective_of(line), step=1),
                plan=PLAN,
                control=control,
            )
    one, other = (
        torch.load(s.folder / "line.state.pt", weights_only=True) for s in (straight, control)
    )
    assert one["step"] == other["step"] == 6
    torch.testing.assert_close(other["model"], one["model"], rtol=0, atol=0)
    torch.testing.assert_close(other["average"], one["average"], rtol=0, atol=0)
    torch.testing.assert_close(
        other["optimizer"]["state"], one["optimizer"]["state"], rtol=0, atol=0
    )


def test_what_is_saved_by_the_clock_is_gone_on_from_after_a_crash(
    make_control: MakeControl,
) -> None:
    straight = run_through(make_control("straight"))
    control = make_control("crash", save_seconds=-1.0)
    line = make_line()
    objective = objective_of(line)

    def fail(*batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if torch.load(control.folder / "line.state.pt", weights_only=True)["step"] == 4:
            raise ZeroDivisionError
        return objective.loss(*batch)

    with pytest.raises(ZeroDivisionError):
        run_stage("line", line, Objective(objective.draw, fail), plan=PLAN, control=control)
    again = run_through(make_control("crash"))
    assert all(
        torch.equal(a, b) for a, b in zip(straight.parameters(), again.parameters(), strict=True)
    )


def test_a_finished_stage_is_loaded_and_not_run_again(make_control: MakeControl) -> None:
    trained = run_through(make_control())
    drawn: list[Tensor] = []
    line = Line()
    run_stage("line", line, objective_of(line, drawn=drawn), plan=PLAN, control=make_control())
    assert not drawn
    assert all(
        torch.equal(a, b) for a, b in zip(trained.parameters(), line.parameters(), strict=True)
    )
    assert sorted(path.name for path in make_control().folder.iterdir()) == ["line.pt", "log.jsonl"]


def test_a_stage_leaves_the_average_behind(make_control: MakeControl) -> None:
    slow = run_through(make_control("slow"))
    quick = run_through(make_control("quick"), replace(PLAN, average=0.0))
    assert not torch.equal(slow.net[0].weight, quick.net[0].weight)
    last = log_of(make_control("slow"))[-1]["loss"], log_of(make_control("quick"))[-1]["loss"]
    assert last[0] == last[1]  # the average looks on; it changes no step


def test_a_batch_depends_on_its_step_alone(make_control: MakeControl) -> None:
    straight: list[Tensor] = []
    line = make_line()
    control = make_control("straight")
    run_stage("line", line, objective_of(line, drawn=straight), plan=PLAN, control=control)
    for first in (2, 7):
        stopped = make_control(f"from-{first}")
        line = make_line()
        rest = list[Tensor]()
        with pytest.raises(StopTrainingError):
            run_stage(
                "line",
                line,
                stop_at(stopped, objective_of(line), step=first),
                plan=PLAN,
                control=stopped,
            )
        stopped.stop = False
        torch.rand(first)  # somebody else's numbers
        run_stage("line", line, objective_of(line, drawn=rest), plan=PLAN, control=stopped)
        assert torch.equal(torch.stack(rest), torch.stack(straight[first:]))


@pytest.mark.parametrize("name", ["line.state.pt", "line.pt"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_refused_with_its_path(
    make_control: MakeControl, name: str, content: bytes
) -> None:
    control = make_control()
    (control.folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: damaged; remove it") as caught:
        run_through(control)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "foreign", [{"model": {"a": torch.zeros(1)}}, {}, {"model": None, "step": 0}, [1]]
)
@pytest.mark.parametrize("name", ["line.state.pt", "line.pt"])
def test_the_file_of_other_networks_is_refused_with_its_path(
    make_control: MakeControl, name: str, foreign: object
) -> None:
    control = make_control()
    torch.save(foreign, control.folder / name)
    with pytest.raises(CheckpointError, match=rf"{name}: .*remove it") as caught:
        run_through(control)
    assert "\n" not in str(caught.value)


def test_a_state_without_its_step_is_refused(make_control: MakeControl) -> None:
    control = make_control()
    line = make_line()
    with pytest.raises(StopTrainingError):
        run_stage(
            "line", line, stop_at(control, objective_of(line), step=2), plan=PLAN, control=control
        )
    path = control.folder / "line.state.pt"
    state = torch.load(path, weights_only=True)
    del state["step"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"line\.state\.pt: a state of other networks"):
        run_through(make_control())


def test_a_place_that_cannot_be_written_is_one_clear_error(make_control: MakeControl) -> None:
    control = make_control()
    (control.folder / "log.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"log\.jsonl: cannot be written"):
        run_through(control)


def test_nothing_half_written_is_left_by_a_stop(make_control: MakeControl) -> None:
    control = make_control()
    line = make_line()
    with pytest.raises(StopTrainingError):
        run_stage(
            "line", line, stop_at(control, objective_of(line), step=2), plan=PLAN, control=control
        )
    assert [path.name for path in control.folder.iterdir()] == ["line.state.pt"]


@given(st.integers(1, 40), st.integers(0, 60), st.floats(1e-5, 1.0))
def test_the_rate_rises_to_its_height_and_falls_to_a_fiftieth(
    warmup: int, more: int, height: float
) -> None:
    plan = StagePlan(warmup + more, 1, height, warmup=warmup)
    rates = [find_rate(plan, step) for step in range(plan.steps)]
    rise = rates[:warmup]
    fall = rates[warmup:]
    assert rise == sorted(rise)
    assert rise[-1] == pytest.approx(height)
    assert fall == sorted(fall, reverse=True)
    assert all(0.02 * height <= rate <= height * (1 + 1e-9) for rate in fall)
    if more:
        assert fall[0] == pytest.approx(height)
        assert find_rate(plan, plan.steps) == pytest.approx(0.02 * height)
    if more % 2 == 0 and more:
        assert find_rate(plan, warmup + more // 2) == pytest.approx(0.51 * height)


@pytest.mark.parametrize(
    ("steps", "looks"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (6, [2, 3, 5, 6]), (9, [3, 5, 7, 9])],
)
def test_samples_are_looked_at_at_the_quarters_and_the_end(
    make_control: MakeControl, steps: int, looks: list[int]
) -> None:
    seen: list[int] = []
    line = make_line()
    run_stage(
        "line",
        line,
        objective_of(line),
        plan=replace(PLAN, steps=steps),
        control=make_control(),
        look=lambda modules, step: seen.append(step),
    )
    assert seen == looks


def test_looking_sees_the_average_and_changes_nothing(make_control: MakeControl) -> None:
    straight = run_through(make_control("blind"))
    line = make_line()
    seen = []

    def look(modules: nn.Module, step: int) -> None:
        assert not modules.training
        assert not torch.is_grad_enabled()
        seen.append({key: value.clone() for key, value in modules.state_dict().items()})

    run_stage(
        "line", line, objective_of(line), plan=PLAN, control=make_control("seeing"), look=look
    )
    torch.testing.assert_close(seen[-1], dict(straight.state_dict()), rtol=0, atol=0)
    assert line.training


def test_the_log_holds_means_over_the_steps_since_its_last_line(make_control: MakeControl) -> None:
    every = make_control("every", log_every=1)
    some = make_control("some", log_every=4)
    run_through(every)
    line = make_line()
    with pytest.raises(StopTrainingError):
        run_stage("line", line, stop_at(some, objective_of(line), step=6), plan=PLAN, control=some)
    some.stop = False
    run_stage("line", line, objective_of(line), plan=PLAN, control=some)
    losses = [entry["loss"] for entry in log_of(every)]
    lines = log_of(some)
    assert [entry["step"] for entry in lines] == [4, 8, 9]
    assert lines[0]["loss"] == pytest.approx(sum(losses[:4]) / 4)
    assert lines[1]["loss"] == pytest.approx(sum(losses[6:8]) / 2)  # of the run that wrote it
    assert lines[2]["half"] == pytest.approx(losses[8] / 2)
    assert (lines[0]["stage"], lines[0]["of"]) == ("line", 9)
