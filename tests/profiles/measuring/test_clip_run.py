"""A rendered clip's record: what it holds, and how it is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from echoexport.profiles.measuring.clip_run import (
    describe_clip_run,
    find_peak_memory,
    find_process_age,
    write_clip_run,
)
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.errors import OutputError
from echoexport.runtime.rendering.clip import ClipReport
from echoexport.runtime.rendering.settings import RenderSettings

REPORT = ClipReport(
    50, 25.0, 0.5, 1.0, 0.5, 0.8, seconds=2.0, calls={"vae_decoder": 50}, warnings=()
)


def test_a_run_says_how_fast_it_was_and_under_which_conditions(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle:
        run = describe_clip_run(bundle, REPORT, RenderSettings(steps=3))
    assert (run.frames_per_second, run.real_time_factor, run.steps, run.overlap) == (
        25.0,
        1.0,
        3,
        1,
    )
    assert run.conditions.backend.startswith("null: ")
    assert (run.conditions.compute, run.conditions.origin) == ("fp32", "measured")


def test_a_run_is_written_as_json_and_nothing_else_is_left(
    null_bundle: Path, tmp_path: Path
) -> None:
    with open_bundle(null_bundle) as bundle:
        write_clip_run(tmp_path / "run.json", describe_clip_run(bundle, REPORT, RenderSettings()))
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["report"]["calls"] == {"vae_decoder": 50}
    assert written["schema"] == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["run.json"]


def test_a_folder_that_cannot_be_written_is_refused_with_the_files_name(
    null_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    with open_bundle(null_bundle) as bundle:
        run = describe_clip_run(bundle, REPORT, RenderSettings())
    with pytest.raises(OutputError, match=r"run\.json"):
        write_clip_run(tmp_path / "taken" / "run.json", run)


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="only Linux tells when a process began"
)
def test_a_process_knows_its_age() -> None:
    code = (
        "import time; time.sleep(0.3); "
        "from echoexport.profiles.measuring.clip_run import find_process_age; "
        "print(find_process_age())"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.29 < float(done.stdout) <= time.monotonic() - begun + 0.05


def test_the_peak_memory_is_at_least_what_is_held() -> None:
    held = bytearray(os.urandom(1) * (64 << 20))
    peak = find_peak_memory()
    assert peak is not None and peak > len(held)
    assert find_process_age() is None or find_process_age() > 0  # type: ignore[operator]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux has it")
def test_the_peak_memory_is_the_process_s_own_and_not_its_parents() -> None:
    held = bytearray(b"x" * (400 << 20))
    code = "from echoexport.profiles.measuring.clip_run import find_peak_memory as f; print(f())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < len(held)
