"""A library that never ends the loading of an engine, and one that is only slow."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from echoexport.runtime.engine.load_limit import LOAD_LIMIT, find_load_limit, limit_load
from echoexport.runtime.errors import SettingError

# The null backend with a library that does not come back for a minute.
SLOW = """
import sys, time
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.bundle.opened import open_bundle

NullBackend.open = lambda *_: time.sleep(60)
with open_bundle(sys.argv[1]) as bundle:
    bundle.network("vae_decoder")
"""


def run_slowly(folder: Path, limit: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SLOW, str(folder)],
        env={**os.environ, LOAD_LIMIT: limit},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_an_engine_that_never_loads_ends_the_process_with_one_line(null_bundle: Path) -> None:
    done = run_slowly(null_bundle, "1")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"echoexport: {null_bundle / 'vae_decoder.onnx'}: still being")
    assert "loaded after 1 s, and given up: the library hangs on it" in done.stderr
    assert done.stderr.endswith(f"{LOAD_LIMIT} sets other seconds\n")
    assert done.stderr.count("\n") == 1


def test_a_load_within_the_limit_leaves_nothing_behind() -> None:
    before = threading.active_count()
    with limit_load("a.onnx", 30, tick=0.01):
        assert threading.active_count() == before + 1
    for thread in threading.enumerate():
        if thread.name == "echoexport-load-limit":
            thread.join(5)
    assert threading.active_count() == before


def test_a_load_that_fails_is_no_longer_watched_and_its_error_is_told() -> None:
    with pytest.raises(ValueError, match="none"), limit_load("a.onnx", 0.05, tick=0.01):
        raise ValueError("none")


def test_no_limit_is_no_watch() -> None:
    before = threading.active_count()
    with limit_load("a.onnx", 0):
        assert threading.active_count() == before


def test_the_limit_grows_with_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOAD_LIMIT, raising=False)
    assert find_load_limit(1800, 0) == 1800
    assert find_load_limit(1800, 3_600_000_000) == 5400


def test_the_user_may_set_another_limit_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOAD_LIMIT, "90")
    assert find_load_limit(1800, 1 << 40) == 90
    monkeypatch.setenv(LOAD_LIMIT, "0")
    assert find_load_limit(1800, 1 << 40) == 0


@pytest.mark.parametrize("said", ["-1", "a minute", "1e3", "9" * 12, "٣"])
def test_a_limit_that_is_no_number_of_seconds_is_refused(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv(LOAD_LIMIT, said)
    with pytest.raises(SettingError, match=r"LOAD_LIMIT=.*: not a number of seconds"):
        find_load_limit(1800, 0)
