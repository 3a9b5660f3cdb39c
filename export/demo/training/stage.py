"""One stage of training: steps whose random numbers depend on their number alone, so that a stop changes nothing."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from echoexport.export.demo.training.recipe import StagePlan
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.sinks import name_staging

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Objective:
    """What a stage minimizes. ``draw`` makes a step's batch, of the same shapes at every step, with its generator;
    ``loss`` gives the value to go down and figures to be logged, without reading any value back to the host.
    """

    draw: Callable[[torch.Generator], Batch]
    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]


_LEAST_RATE = 0.02  # of the learning rate, at the end of the cosine
_LARGEST_GRADIENT = 1.0


class StopTrainingError(Exception):
    """The time is up or the user wants to stop; the state is saved."""


@dataclass
class Session:
    """One run of the command: where its files lie, on which device, until when, and who is told."""

    folder: Path
    device: torch.device
    seed: int
    tell: Callable[[str], None]
    deadline: float = math.inf
    until: str | None = None
    stop: bool = False
    save_seconds: float = 120.0
    log_every: int = 100
    started: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether to save and leave."""
        return self.stop or time.monotonic() > self.deadline

    def leave_after(self, stage: str) -> None:
        """Raise StopTrainingError where no more than this stage was asked for."""
        if self.until == stage:
            raise StopTrainingError(f"{stage}: done, and no more was asked for")

    def generator(self, name: str, step: int = 0) -> torch.Generator:
        """Random numbers of one step of one stage; on the device, so that batches are drawn there."""
        words = int.from_bytes(name.encode()[:5], "little")
        return torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + words * 10_007 + step)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 arithmetic where it is fast, on a GPU; float32 on a CPU."""
        # no cache of cast weights: a captured graph would go on reading the first step's
        return torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda", cache_enabled=False)


def run_stage(
    name: str, modules: nn.Module, objective: Objective, *, plan: StagePlan, session: Session,
    look: Callable[[nn.Module, int], None] | None = None,
) -> None:  # fmt: skip
    """Train ``modules`` for ``plan.steps`` steps, going on from a saved state; leaves them with averaged weights.

    The result is kept as ``<name>.pt``: a finished stage is loaded and not run again. ``look`` sees the averaged
    modules now and then and at the end.

    Raises:
        StopTrainingError: the session is over; the state is saved.
        CheckpointError: a saved state that is of other modules.
    """
    finished = session.folder / f"{name}.pt"
    if finished.is_file():
        load_state(modules, finished)
        session.tell(f"{name}: done before")
        return
    training = _Training(name, modules, plan, session)
    for step in training.remaining():
        training.advance(step, objective)
        if training.is_due(step):
            with training.averaged():
                if look is not None:
                    look(modules, step + 1)
    with training.averaged():
        save_atomically({"model": modules.state_dict()}, finished)
    load_state(modules, finished)
    training.path.unlink(missing_ok=True)
    session.tell(f"{name}: {plan.steps} steps done")


class _Training:
    """Weights, their average and the optimizer of one stage."""

    def __init__(self, name: str, modules: nn.Module, plan: StagePlan, session: Session) -> None:
        self.name, self.modules, self.plan, self.session = name, modules, plan, session
        self.path = session.folder / f"{name}.state.pt"
        self.parameters = [p for p in modules.parameters() if p.requires_grad]
        on_gpu = session.device.type == "cuda"
        # tensors on a GPU, so that a captured step reads each step's own values
        self.rate = torch.tensor(plan.learning_rate, device=session.device) if on_gpu else plan.learning_rate
        self.fade = torch.zeros((), device=session.device)  # 1 - the average's decay
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=on_gpu, capturable=on_gpu
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self._captured = _CapturedStep() if on_gpu else None
        self.start = self._load()
        self._saved, self._told = time.monotonic(), (time.monotonic(), self.start)
        self._sums: dict[str, Tensor] = {}

    def remaining(self) -> Iterator[int]:
        """The steps that are left; saves and leaves when the session is over."""
        for step in range(self.start, self.plan.steps):
            if self.session.over:
                self._save(step)
                raise StopTrainingError(f"{self.name}: stopped at step {step} of {self.plan.steps}; state saved")
            if time.monotonic() - self._saved > self.session.save_seconds:
                self._save(step)
            yield step

    def advance(self, step: int, objective: Objective) -> None:
        """One step: batch, loss, gradients, weights, average."""
        batch = objective.draw(self.session.generator(self.name, step))
        self.fade.fill_(1 - min(self.plan.average, (1 + step) / (10 + step)))
        rate = find_rate(self.plan, step)
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        update = partial(self._update, objective)
        self._log(step, update(*batch) if self._captured is None else self._captured.run(update, batch))

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
        """Whether it is time to look at samples: four times a stage and at its end."""
        return (step + 1) % max(self.plan.steps // 4, 1) == 0

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
        for key, value in figures.items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value
        every = self.session.log_every
        if (step + 1) % every and step + 1 != self.plan.steps:
            return
        count = (step % every) + 1
        means = {key: float(total) / count for key, total in self._sums.items()}
        self._sums = {}
        now = time.monotonic()
        rate = (step + 1 - self._told[1]) / max(now - self._told[0], 1e-9)
        self._told = (now, step + 1)
        line = {"stage": self.name, "step": step + 1, "of": self.plan.steps, **means, "steps_per_second": rate}
        with (self.session.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        text = "  ".join(f"{key} {value:.4f}" for key, value in means.items())
        self.session.tell(f"{self.name} {step + 1}/{self.plan.steps}  {text}  {rate:.1f} steps/s")

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
        state = _read(self.path)
        try:
            self.modules.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average = [value.to(p.device) for value, p in zip(state["average"], self.parameters, strict=True)]
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self.path}: a state of other networks; remove it to start anew") from error
        step = int(state["step"])
        self.session.tell(f"{self.name}: going on at step {step}")
        return step


class _CapturedStep:
    """Runs a step of thousands of small kernels as one CUDA graph, which costs the host next to nothing.

    The first steps run as they are, which also readies the libraries; then one is recorded, and from then on replayed
    with every batch copied into the recorded one's place.
    """

    _EAGER_STEPS = 3

    def __init__(self) -> None:
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch = ()
        self._figures: dict[str, Tensor] = {}

    def run(self, update: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        """The step's figures."""
        if self._done < self._EAGER_STEPS:
            self._done += 1
            return self._run_aside(update, batch)
        if self._graph is None:
            self._batch = tuple(tensor.clone() for tensor in batch)
            torch.cuda.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._figures = update(*self._batch)
        else:
            for place, tensor in zip(self._batch, batch, strict=True):
                place.copy_(tensor)
        self._graph.replay()
        return self._figures

    @staticmethod
    def _run_aside(update: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        """On a stream of its own, as capturing wants its rehearsals."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            figures = update(*batch)
        torch.cuda.current_stream().wait_stream(stream)
        return figures


def find_rate(plan: StagePlan, step: int) -> float:
    """The learning rate of a step: a linear rise, then half a cosine."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    along = (step - plan.warmup) / max(plan.steps - plan.warmup, 1)
    return plan.learning_rate * (_LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * along)))


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write beside ``path`` and rename: a crash leaves the old file."""
    aside = name_staging(path)
    try:
        torch.save(state, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load_state(modules: nn.Module, path: Path) -> None:
    """Give modules the weights of a finished stage.

    Raises:
        CheckpointError: the file is of other modules, or damaged.
    """
    try:
        modules.load_state_dict(_read(path)["model"])
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: the weights of other networks; remove it to train them anew") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise CheckpointError(f"{path}: damaged; remove it to train this stage anew") from error
    return state
