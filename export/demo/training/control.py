"""One run of the training command.

Where its files lie, on which device, until when, and who is told.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from echoexport.runtime.progress import Tell

_TELL_SECONDS = 10.0  # between two lines about work that draws or reads data


class StopTrainingError(Exception):
    """The time is up or the user wants to stop; what is done is saved."""


def count_processors() -> int:
    """The processors that this process may use, not all that the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class TrainingControl:
    """What a run is given."""

    folder: Path
    """Where data, states, logs, samples and the checkpoint go."""
    device: torch.device
    """What the networks run on."""
    seed: int
    """Of every generator, with the stage's name and the step."""
    tell: Tell
    """Takes a line for whoever watches."""
    workers: int = field(default_factory=count_processors)
    """Processes that synthesize speech and draw people."""
    deadline: float = math.inf
    """Of ``time.monotonic``."""
    until: str | None = None
    """The last stage wanted; None for all."""
    stop: bool = False
    """Asks the run to save and leave; may be set at any time, also by a signal."""
    save_seconds: float = 120.0
    """Between two saved states of a stage."""
    log_every: int = 100
    """Steps between two lines of the log."""
    _told: float = field(default_factory=time.monotonic, repr=False)
    """When work was last told of, by ``time.monotonic``."""

    @property
    def over(self) -> bool:
        """Whether to save and leave."""
        return self.stop or time.monotonic() > self.deadline

    def leave_after(self, stage: str) -> None:
        """Raise StopTrainingError where no more than this stage was asked for."""
        if self.until == stage:
            raise StopTrainingError(f"{stage}: done, and no more was asked for")

    def report(self, work: str, done: int, total: int) -> None:
        """Tell how far some work is, every ten seconds.

        Raises StopTrainingError when the run is over.
        """
        if self.over:
            raise StopTrainingError(f"{work}: stopped at {done} of {total}")
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            self.tell(f"{work}: {done} of {total}")

    def generator(self, name: str, step: int = 0) -> torch.Generator:
        """Random numbers of one step of one stage, drawn on the device like the batches."""
        words = int.from_bytes(name.encode()[:5], "little")
        return torch.Generator(self.device).manual_seed(
            self.seed * 1_000_003 + words * 10_007 + step
        )

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 arithmetic where it is fast, on a GPU; float32 on a CPU."""
        # no cache of cast weights: a captured graph would go on reading the first
        # step's
        return torch.autocast(
            "cuda", torch.bfloat16, enabled=self.device.type == "cuda", cache_enabled=False
        )
