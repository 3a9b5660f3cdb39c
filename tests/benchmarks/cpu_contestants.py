"""The denoiser on a CPU, and who runs it: PyTorch in its quickest ways, and our engines.

Each contestant is one process or several, so that a round keeps all cores busy in the way
that it would in use.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

WORKER = Path(__file__).parent / "cpu_worker.py"
COMPILERS = ("c++", "g++", "clang++")
_SLOWEST_START = 1800.0  # seconds: torch.compile takes minutes


@dataclass(frozen=True)
class Contestant:
    """One way to run the denoiser."""

    label: str
    backend: str
    """"torch", or one of ours."""
    compute: str
    """"fp32" or "bf16"."""
    channels_last: bool = False
    """PyTorch's weights laid out so."""
    compiled: bool = False
    """By ``torch.compile`` with freezing."""
    own: bool = False
    """In the graph that a build on this machine chooses for the backend."""
    processes: int = 1
    lanes: int = 1
    """Calls at once in each process."""

    @property
    def calls(self) -> int:
        """Denoiser calls of one round."""
        return self.processes * self.lanes

    @property
    def threads(self) -> int:
        """Of each process: the cores, divided."""
        return max(1, count_cores() // self.processes)

    def find_trouble(self) -> str | None:
        """Why it cannot run here, as far as that is known before it starts."""
        if self.compiled and not any(map(shutil.which, COMPILERS)):
            return f"torch.compile wants a C++ compiler: none of {', '.join(COMPILERS)} is here"
        return None


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def list_contestants() -> tuple[Contestant, ...]:
    """PyTorch's ways and ours, each one call at a time and with every core on a call of its own."""
    cores = count_cores()
    ways = (
        ("fp32 eager", "fp32", False, False),
        ("bf16 eager", "bf16", False, False),
        ("bf16 channels-last", "bf16", True, False),
        ("bf16 compiled", "bf16", True, True),
    )
    found = [
        Contestant(
            f"pytorch {what}{_tell(processes, 'process', 'processes')}",
            "torch",
            compute,
            channels_last=last,
            compiled=compiled,
            processes=processes,
        )
        for what, compute, last, compiled in ways
        for processes in dict.fromkeys((1, cores))
    ]
    found += [
        Contestant(
            f"openvino {compute}{', own graph' * own}{_tell(lanes, 'lane', 'lanes')}",
            "openvino",
            compute,
            own=own,
            lanes=lanes,
        )
        for compute in ("fp32", "bf16")
        for own in (False, True)
        for lanes in dict.fromkeys((1, cores))
    ]
    return tuple(found)


def _tell(count: int, one: str, many: str) -> str:
    return "" if count == 1 else f", {count} {many if count > 1 else one}"


class Team:
    """A contestant's processes, each with the denoiser open, waiting for a round to begin."""

    def __init__(self, contestant: Contestant, folder: Path, *, size: str) -> None:
        self.contestant = contestant
        told = json.dumps({**asdict(contestant), "threads": contestant.threads})
        command = [sys.executable, str(WORKER), str(folder), size, told]
        environment = {**os.environ, "OMP_NUM_THREADS": str(contestant.threads)}
        self._workers = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
            for _ in range(contestant.processes)
        ]

    def wait(self) -> str | None:
        """Wait until all are ready; why they are not, where they are not."""
        answers = [self._hear(worker) for worker in self._workers]
        return next((answer for answer in answers if answer != "ready"), None)

    def run(self) -> float:
        """One round: seconds of a call, all processes and lanes busy."""
        start = time.perf_counter()
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in self._workers:
            answer = self._hear(worker)
            if answer != "done":
                raise RuntimeError(f"{self.contestant.label}: {answer}")
        return (time.perf_counter() - start) / self.contestant.calls

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.communicate()

    def _hear(self, worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        return worker.stdout.readline().strip() or "its process ended: out of memory?"


@contextmanager
def open_team(contestant: Contestant, folder: Path, *, size: str) -> Iterator[Team | str]:
    """A contestant that is ready, or why it is not."""
    trouble = contestant.find_trouble()
    if trouble is not None:
        yield trouble
        return
    team = Team(contestant, folder, size=size)
    try:
        with ThreadPoolExecutor(1) as waiter:
            waiting = waiter.submit(team.wait)
            try:
                trouble = waiting.result(timeout=_SLOWEST_START)
            except TimeoutError:
                trouble = f"not ready after {_SLOWEST_START:g} s"
                team.close()
        yield trouble or team
    finally:
        team.close()


def call_side_by_side(call: Callable[[], object], lanes: int) -> None:
    """So many calls at once, in a thread each."""
    with ThreadPoolExecutor(lanes) as pool:
        for done in [pool.submit(call) for _ in range(lanes)]:
            done.result()
