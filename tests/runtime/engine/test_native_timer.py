"""A library that keeps Python's lock and hangs, as a builtin that counts for hours does."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from echoexport.runtime.engine import native_timer
from echoexport.runtime.engine.native_timer import end_after

COUNT = """
from echoexport.runtime.engine.native_timer import end_after
with end_after(0.5, "a 100% slow café.onnx: given up"):
    sum(range(10**13))
"""

pytestmark = pytest.mark.skipif(
    native_timer._find_library() is None, reason="the C library is not glibc's of 64 bits"
)


def test_a_hang_that_keeps_pythons_lock_ends_with_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, check=False, timeout=50
    )
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert [line.partition(": ")[2] for line in lines] == ["a 100% slow café.onnx: given up"]


def test_time_asleep_does_not_count_and_no_timer_outlives_its_block() -> None:
    with end_after(0.3, "not told"):
        time.sleep(0.6)
    begun = time.process_time()
    while time.process_time() < begun + 0.7:
        pass


def test_a_system_without_such_timers_goes_unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with end_after(0.0, "not told"):
        pass
