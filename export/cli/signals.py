"""Signals that end a command: all of them let it clear away what it has not finished."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CLEARING_SECONDS = 5.0
"""For so long after a signal further ones are not heard; then the next one is, in case
something hangs."""

# A closed terminal or connection, Ctrl-\\, a processor limit, and what batch systems send
# ahead of their end. Not on every system.
_ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2")


@contextmanager
def terminated_cleanly() -> Iterator[None]:
    """Let every signal that ends a process unwind as Ctrl-C does, and leave nothing half-written.

    What comes while it clears away does not disturb it: a library's threads would end in
    an abort, files would stay. What is ignored stays so, as ``nohup`` and a shell's
    background jobs have it. A child that a library forks does not keep these handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    begun: list[float] = []
    ours = os.getpid()

    def unwind(number: int, _: Any) -> None:
        if os.getpid() != ours:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        now = time.monotonic()
        if begun and now - begun[-1] < _CLEARING_SECONDS:
            return
        begun.append(now)
        if number != signal.SIGINT:
            sys.exit(128 + number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, unwind) for number in _find_heard()}
    try:
        yield
    finally:
        if not begun:  # else the end of Python is still to come
            for number, handler in before.items():
                signal.signal(number, handler)


def _find_heard() -> list[signal.Signals]:
    """SIGTERM always; the others where nobody else heard or ignored them."""
    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    heard = [
        number
        for number in numbers
        if number == signal.SIGTERM or signal.getsignal(number) == signal.SIG_DFL
    ]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        heard.append(signal.SIGINT)
    return heard
