"""Running a child that answers line by line.

Its progress told, its end put into words, its last words kept.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from echoexport.runtime.contract.schema import dump
from echoexport.runtime.progress import Tell

HEARTBEAT = 30.0
"""Seconds without an answer after which it is said that the child is still at work."""

_LAST_LINES = 3


@dataclass(frozen=True)
class Outcome:
    """How a child ended."""

    answers: Mapping[str, Mapping[str, Any]]
    """Its answers by event, the last of each."""
    code: int
    """Exit code, negative for a signal."""
    last_words: str
    timed_out: bool

    def find(self, event: str) -> Mapping[str, Any] | None:
        """The answer of that event, None where there was none."""
        return self.answers.get(event)

    def describe_end(self) -> str:
        """In words: exit code or signal, and what it wrote last."""
        words = f": {self.last_words}" if self.last_words else ""
        if self.code >= 0:
            return f"ended with exit code {self.code}{words}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        return f"died of {name}{words}"


def run_child(module: str, job: object, *, timeout: float, report: Tell) -> Outcome:
    """Run ``python -m module`` with a dataclass as JSON on its standard input.

    It may take ``timeout`` seconds.

    Whatever ends this early, Ctrl-C included, ends the child too.
    """
    command = [sys.executable, "-m", module]
    # Text that is no UTF-8 may come from the library; it must not hide the reason.
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    answers: dict[str, Mapping[str, Any]] = {}
    chatter: deque[str] = deque(maxlen=_LAST_LINES)
    lines: queue.Queue[str | None] = queue.Queue()
    assert child.stdin and child.stdout and child.stderr
    threads = [
        threading.Thread(target=_pass_on, args=(child.stdout, lines), daemon=True),
        threading.Thread(target=_keep_last, args=(child.stderr, chatter), daemon=True),
    ]
    try:
        for thread in threads:
            thread.start()
        with suppress(BrokenPipeError):  # it died before it could read; its exit code says why
            child.stdin.write(json.dumps(dump(job)))
            child.stdin.close()
        timed_out = not _follow(lines, answers, timeout=timeout, report=report)
        if timed_out:
            child.kill()
        code = child.wait()
        threads[1].join(timeout=5)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            with suppress(OSError):
                stream.close()
    return Outcome(answers, code, "; ".join(chatter)[-600:], timed_out)


def _pass_on(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with suppress(OSError, ValueError):  # closed under it, after an interrupt
        for line in stream:
            lines.put(line)
    lines.put(None)


def _keep_last(stream: IO[str], chatter: deque[str]) -> None:
    with suppress(OSError, ValueError):
        for line in stream:
            if line.strip():
                chatter.append(" ".join(line.split()))


def _follow(
    lines: queue.Queue[str | None],
    answers: dict[str, Mapping[str, Any]],
    *,
    timeout: float,
    report: Tell,
) -> bool:
    """Take answers until the child closes its output; False where the time is up before."""
    start = time.monotonic()
    while (left := timeout - (time.monotonic() - start)) > 0:
        try:
            line = lines.get(timeout=min(HEARTBEAT, left))
        except queue.Empty:
            if left > HEARTBEAT:
                phase = f", {answers['phase']['text']}" if "phase" in answers else ""
                report(f"still at work after {time.monotonic() - start:.0f} s{phase}")
            continue
        if line is None:
            return True
        answer = _read_answer(line)
        if answer is not None:
            answers[answer["event"]] = answer
            if answer["event"] == "progress":
                report(str(answer.get("text", "")))
    return False


def _read_answer(line: str) -> Mapping[str, Any] | None:
    with suppress(ValueError):
        answer = json.loads(line)
        if isinstance(answer, dict) and isinstance(answer.get("event"), str):
            return answer
    return None
