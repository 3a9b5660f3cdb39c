"""A limit of time round the loading of an engine, which a library may never end by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from echoexport.runtime.engine.native_timer import end_after
from echoexport.runtime.errors import SettingError

__all__ = ["LOAD_LIMIT", "find_load_limit", "limit_load"]

LOAD_LIMIT = "ECHOEXPORT_LOAD_LIMIT"
"""The environment variable that sets another limit, in seconds; 0 for none."""

_SLOWEST = 1e6  # bytes of weights a second
_TICK = 1.0  # seconds


def find_load_limit(longest: float, weights: int) -> float:
    """Seconds that an engine with so many bytes of weights may take to load, 0 for any.

    They are ``longest``, the backend's, and a second for each megabyte; or what the
    user says in ``LOAD_LIMIT``.

    Raises:
        SettingError: the variable holds no number of seconds.
    """
    said = os.environ.get(LOAD_LIMIT, "")
    if not said:
        return longest + weights / _SLOWEST
    if not (said.isascii() and said.isdigit()) or len(said) > 9:
        raise SettingError(f"{LOAD_LIMIT}={said[:40]!r}: not a number of seconds; 0 is no limit")
    return float(said)


@contextmanager
def limit_load(what: str, seconds: float, *, tick: float = _TICK) -> Iterator[None]:
    """End the process with one line and exit code 1 where the block takes longer.

    ``what`` leads the line; 0 seconds are no limit. Nothing gentler stops a library
    that does not come back: it heeds no interrupt, and its thread cannot be ended. Time
    in which the process is stopped, or its machine asleep, does not count. Where the
    library lets no thread of Python's run, it is the processor time that all of the
    machine's cores have in ``seconds``.
    """
    if seconds <= 0:
        yield
        return
    line = (
        f"{what}: still being loaded after {seconds:.0f} s, and given up: the library hangs on it, "
        f"or this machine is very slow; {LOAD_LIMIT} sets other seconds"
    )
    loaded = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(loaded, line, seconds, tick), name="echoexport-load-limit", daemon=True
    )
    watch.start()
    try:
        with end_after(seconds * (os.cpu_count() or 1), line):
            yield
    finally:
        loaded.set()


def _watch(loaded: threading.Event, line: str, seconds: float, tick: float) -> None:
    # by counting and not by the clock, which goes on while the process is stopped
    for _ in range(round(seconds / tick) + 1):
        if loaded.wait(tick):
            return
    os.write(2, f"echoexport: {line}\n".encode("utf-8", "backslashreplace"))
    os._exit(1)
