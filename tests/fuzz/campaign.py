"""Gives a child one mutation after another, and says which ended badly and how."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from fuzz.kinds import KINDS

SECONDS = 30.0
MORE_BYTES = 1 << 30
EVERY = 10
"""Of so many mutations one goes through a whole command too."""
_COMMAND_BYTES = 600 << 20  # of an honest one, torch loaded
_START_SECONDS = 120.0
_PROGRESS = re.compile(r"(?!echoexport: ).* \d+/\d+")
_TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Failure:
    """A mutation that neither gave frames nor one line."""

    kind: str
    seed: int
    index: int
    what: str

    def __str__(self) -> str:
        again = f"make fuzz SEED={self.seed} KIND={self.kind} INDEX={self.index}"
        return f"{self.kind} {self.index}: {self.what}\n    again: {again}"


@dataclass
class Tally:
    """What became of a kind's mutations."""

    read: int = 0
    refused: int = 0
    failures: list[Failure] = field(default_factory=list)


class Child:
    """A process that reads mutations of one kind; a new one where the last died."""

    def __init__(self, kind: str, seeds: Path, *, seed: int) -> None:
        ways = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._line = [sys.executable, "-m", "fuzz.worker", kind, str(seeds), str(seed)]
        self._environment = {**os.environ, "PYTHONPATH": ways}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> int:
        """Kill the process; how it had ended, or -9."""
        if self._process is None:
            return 0
        self._process.kill()
        self._process.communicate()
        code = self._process.returncode
        self._process = None
        return code

    def ask(self, **request: Any) -> dict[str, Any]:
        """The child's answer, or what became of it: ``died`` with its exit code, ``slow``."""
        fresh = self._process is None
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                self._line, env=self._environment, stdin=pipe, stdout=pipe, text=True
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{json.dumps(request)}\n")
        process.stdin.flush()
        limit = _START_SECONDS if fresh else SECONDS
        if not select.select([process.stdout], [], [], limit)[0]:
            self.end()
            return {"slow": True}
        line = process.stdout.readline()
        if line:
            return dict(json.loads(line))
        process.wait(timeout=SECONDS)
        return {"died": self.end()}


def write_seeds(kind: str, folder: Path) -> Path:
    """A folder with the honest inputs of a kind."""
    place = folder / kind
    place.mkdir(parents=True)
    for number, content in enumerate(KINDS[kind].seeds()):
        (place / f"{number:03}").write_bytes(content)
    return place


def run_campaign(
    kind: str,
    seeds: Path,
    *,
    seed: int,
    indices: Iterator[int],
    until: float | None = None,
    every: int = EVERY,
) -> Tally:
    """Read mutations by their numbers, until a time of the monotonic clock where one is given.

    Every so many go through a whole command as well.
    """
    tally = Tally()
    with Child(kind, seeds, seed=seed) as child:
        outcomes, most = _read_honest(child, seeds)
        for index in indices:
            if until is not None and time.monotonic() > until:
                break
            wanted = outcomes if KINDS[kind].judged else None
            answer = child.ask(index=index)
            what = judge_answer(answer, most=most, wanted=wanted)
            refused = "refusal" in answer
            tally.read += "outcome" in answer
            tally.refused += refused
            whole = KINDS[kind].command is not None and (refused or not KINDS[kind].built)
            if what is None and index % every == 0 and whole:
                must_refuse = refused and not KINDS[kind].partial
                answer = child.ask(index=index, command=True)
                what = judge_command(answer, refused=must_refuse)
            if what is not None:
                tally.failures.append(Failure(kind, seed, index, what))
    return tally


def judge_answer(
    answer: dict[str, Any], *, most: int, wanted: list[str] | None = None
) -> str | None:
    """What is wrong with an answer; None where it is frames or one line."""
    found = {
        "died": lambda code: f"the process ended with {code}",
        "slow": lambda _: f"more than {SECONDS:g} s",
        "traceback": str,
    }
    for key, tell in found.items():
        if key in answer:
            return tell(answer[key])
    if answer["bytes"] > most + MORE_BYTES:
        return f"{answer['bytes'] >> 20} MB of memory, honest ones take {most >> 20}"
    if "refusal" in answer:
        return f"more than one line: {answer['printed']}" if answer["printed"] else None
    return "other frames" if wanted is not None and answer["outcome"] not in wanted else None


def judge_command(answer: dict[str, Any], *, refused: bool) -> str | None:
    """What is wrong with how a whole command ended; None where it is a clip or one line."""
    if "code" not in answer:
        return judge_answer(answer, most=0)
    if answer["bytes"] > _COMMAND_BYTES + MORE_BYTES:
        return f"the command took {answer['bytes'] >> 20} MB of memory"
    lines = [line for line in answer["printed"].splitlines() if not _PROGRESS.fullmatch(line)]
    one = len(lines) == 1 and lines[0].startswith("echoexport: error: ")
    if answer["code"] == 1 and one:
        return None
    if answer["code"] == 0 and not refused:
        return None
    return f"the command ended with {answer['code']} and {answer['printed']!r}"


def _read_honest(child: Child, seeds: Path) -> tuple[list[str], int]:
    """What the seeds give, and the most memory that one took."""
    answers = [child.ask(honest=number) for number in range(len(list(seeds.iterdir())))]
    for number, answer in enumerate(answers):
        assert "outcome" in answer, (seeds, number, answer)
    return [a["outcome"] for a in answers], max(a["bytes"] for a in answers)
