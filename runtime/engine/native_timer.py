"""The end of the process from outside Python, where a library keeps Python's lock and hangs.

ONNX Runtime up to 1.23 keeps it for as long as it loads a graph (1.32 does not): no
thread of Python's runs meanwhile, and no handler of a signal. A timer of the C
library's runs a C function all the same.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["end_after"]

# From glibc's headers, the same on x86-64 and aarch64.
_CLOCK_PROCESS_CPUTIME_ID = 2
_SIGEV_THREAD = 2
_PAUSE = 0.2  # seconds from the line to the end


class _Event(ctypes.Structure):
    """``struct sigevent``: which function is to be called, with which value."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("rest", ctypes.c_char * 32),
    )


class _Times(ctypes.Structure):
    """``struct itimerspec``: seconds and nanoseconds, of the interval and of the first time."""

    _fields_ = (
        ("interval", ctypes.c_long * 2),
        ("first", ctypes.c_long * 2),
    )


@contextmanager
def end_after(seconds: float, line: str) -> Iterator[None]:
    """End the process with a line and exit code 1 where the block takes more processor time.

    That is the time of all its threads together; while the process sleeps or is
    stopped, none passes. Without glibc's timers nothing is watched.
    """
    library = _find_library()
    if library is None:
        yield
        return
    text = ctypes.create_string_buffer(line.replace("%", "%%").encode("utf-8", "backslashreplace"))
    timers = [
        _start(library, library.warnx, ctypes.addressof(text), seconds=seconds),
        _start(library, library._exit, 1, seconds=seconds + _PAUSE),
    ]
    try:
        yield
    finally:
        for timer in timers:
            if timer is not None:
                library.timer_delete(timer)


def _find_library() -> Any:
    """The C library, None where it is none that has all of this as described."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32:
        return None
    library = ctypes.CDLL(None)
    needed = ("gnu_get_libc_version", "timer_create", "timer_settime", "timer_delete", "warnx")
    return library if all(hasattr(library, name) for name in needed) else None


def _start(library: Any, function: Any, value: int, *, seconds: float) -> ctypes.c_void_p | None:
    """A timer that calls a function once, in a thread of the C library's; None for none."""
    event = _Event(
        value=value,
        notify=_SIGEV_THREAD,
        function=ctypes.cast(function, ctypes.c_void_p),
    )
    timer = ctypes.c_void_p()
    if library.timer_create(_CLOCK_PROCESS_CPUTIME_ID, ctypes.byref(event), ctypes.byref(timer)):
        return None
    whole = int(seconds)
    first = (ctypes.c_long * 2)(whole, int((seconds - whole) * 1e9))
    library.timer_settime(timer, 0, ctypes.byref(_Times(first=first)), None)
    return timer
