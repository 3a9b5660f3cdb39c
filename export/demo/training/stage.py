"""One stage of training, whose steps come out the same whether it was stopped or not.

A step's random numbers depend on its number alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from echoexport.export.demo.training.captured import Batch, CapturedStep
from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
from echoexport.export.demo.training.recipe import StagePlan
from echoexport.export.demo.training.saving import load_state, read_saved, save_atomically
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.files.aside import refuse_output

_LEAST_RATE = 0.02  # of the learning rate, at the end of the cosine
_LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Objective:
    """What a stage minimizes.

    ``draw`` makes a step's batch, of the same shapes at every step, with the step's
    generator. ``loss`` takes it and gives the scalar to go down and scalars to be
    logged, without reading any value back to the host.
    """

    draw: Callable[[torch.Generator], Batch]
    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]


def run_stage(
    name: str,
    modules: nn.Module,
    objective: Objective,
    *,
    plan: StagePlan,
    control: TrainingControl,
    look: Callable[[nn.Module, int], None] | None = None,
) -> None:
    """Train ``modules`` for ``plan.steps`` steps, going on from a saved state.

    Leaves them with averaged weights.

    The result is kept as ``<name>.pt``: a finished stage is loaded and not run again.
    ``look`` sees the averaged modules now and then and at the end.

    Raises:
        StopTrainingError: the run is over; the state is saved.
        CheckpointError: a saved state that is damaged, or of other modules.
        OutputError: a file that cannot be written.
    """
    finished = control.folder / f"{name}.pt"
    if finished.is_file():
        load_state(modules, finished)
        control.tell(f"{name}: done before")
        return
    training = _Training(name, modules, plan, control)
    for step in training.remaining():
        training.advance(step, objective)
        if look is not None and training.is_due(step):
            with training.averaged():
                look(modules, step + 1)
    with training.averaged():
        save_atomically({"model": modules.state_dict()}, finished)
    load_state(modules, finished)
    training.path.unlink(missing_ok=True)
    control.tell(f"{name}: {plan.steps} steps done")


class _Training:
    """Weights, their average and the optimizer of one stage."""

    def __init__(
        self, name: str, modules: nn.Module, plan: StagePlan, control: TrainingControl
    ) -> None:
        self.name = name
        self.modules = modules
        self.plan = plan
        self.control = control
        self.path = control.folder / f"{name}.state.pt"
        self.parameters = [p for p in modules.parameters() if p.requires_grad]
        on_gpu = control.device.type == "cuda"
        # tensors on a GPU, so that a captured step reads each step's own values
        self.rate = (
            torch.tensor(plan.learning_rate, device=control.device)
            if on_gpu
            else plan.learning_rate
        )
        self.fade = torch.zeros((), device=control.device)  # 1 - the average's decay
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self._captured = CapturedStep() if on_gpu else None
        self.start = self._load()
        self._saved = time.monotonic()
        self._told = (time.monotonic(), self.start)
        self._sums: dict[str, Tensor] = {}
        self._summed = 0  # steps since the last line of the log, of this run alone

    def remaining(self) -> Iterator[int]:
        """The steps that are left; saves and leaves when the run is over."""
        for step in range(self.start, self.plan.steps):
            if self.control.over:
                self._save(step)
                raise StopTrainingError(
                    f"{self.name}: stopped at step {step} of {self.plan.steps}; state saved"
                )
            if time.monotonic() - self._saved > self.control.save_seconds:
                self._save(step)
            yield step

    def advance(self, step: int, objective: Objective) -> None:
        """One step: batch, loss, gradients, weights, average."""
        batch = objective.draw(self.control.generator(self.name, step))
        self.fade.fill_(1 - min(self.plan.average, (1 + step) / (10 + step)))
        rate = find_rate(self.plan, step)
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        update = partial(self._update, objective)
        self._log(
            step, update(*batch) if self._captured is None else self._captured.run(update, batch)
        )

    def _update(self, objective: Objective, *batch: Tensor) -> dict[str, Tensor]:
        """Everything of a step that runs on the device alone."""
        self.optimizer.zero_grad(set_to_none=True)
        value, figures = objective.loss(*batch)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, _LARGEST_GRADIENT)
        self.optimizer.step()
        with torch.no_grad():
            towards = torch._foreach_sub([p.detach() for p in self.parameters], self.average)
            torch._foreach_mul_(towards, self.fade)
            torch._foreach_add_(self.average, towards)
        return {"loss": value.detach(), **{key: figure.detach() for key, figure in figures.items()}}

    def is_due(self, step: int) -> bool:
        """Whether it is time to look at samples: at each quarter of the stage and at its end."""
        return (step + 1) * 4 // self.plan.steps != step * 4 // self.plan.steps

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The modules with averaged weights, for the time of the block."""
        self._swap()
        training = self.modules.training
        self.modules.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.modules.train(training)
            self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for mean, parameter in zip(self.average, self.parameters, strict=True):
                kept = parameter.clone()
                parameter.copy_(mean)
                mean.copy_(kept)

    def _log(self, step: int, figures: dict[str, Tensor]) -> None:
        """Sum a step's figures on the device.

        Their means are read back once in ``log_every`` steps.
        """
        for key, value in figures.items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value
        self._summed += 1
        if (step + 1) % self.control.log_every and step + 1 != self.plan.steps:
            return
        means = {key: float(total) / self._summed for key, total in self._sums.items()}
        self._sums = {}
        self._summed = 0
        now = time.monotonic()
        rate = (step + 1 - self._told[1]) / max(now - self._told[0], 1e-9)
        self._told = (now, step + 1)
        place = {"stage": self.name, "step": step + 1, "of": self.plan.steps}
        self._write_line(place | means | {"steps_per_second": rate})
        text = "  ".join(f"{key} {value:.4f}" for key, value in means.items())
        self.control.tell(f"{self.name} {step + 1}/{self.plan.steps}  {text}  {rate:.1f} steps/s")

    def _write_line(self, line: Mapping[str, object]) -> None:
        path = self.control.folder / "log.jsonl"
        try:
            with path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise refuse_output(path, error) from error

    def _save(self, step: int) -> None:
        state = {
            "step": step,
            "model": self.modules.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        save_atomically(state, self.path)
        self._saved = time.monotonic()

    def _load(self) -> int:
        if not self.path.is_file():
            return 0
        state = read_saved(self.path)
        try:
            self.modules.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average = [
                value.to(p.device)
                for value, p in zip(state["average"], self.parameters, strict=True)
            ]
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
            step = int(state["step"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{self.path}: a state of other networks; remove it to start anew"
            ) from error
        self.control.tell(f"{self.name}: going on at step {step}")
        return step


def find_rate(plan: StagePlan, step: int) -> float:
    """The learning rate of a step: a linear rise, then half a cosine."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    along = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return plan.learning_rate * (
        _LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * along))
    )
