"""A user without a home and without an entry among the users, as services and containers have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Imported by Python itself before anything else.
NOBODY = """
import pwd

def refuse(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")

pwd.getpwuid = refuse
"""
PROGRAM = "import sys; from echoexport.export.cli import main; main(sys.argv[1:])"


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[..., None]:
    """A function that runs a command as such a user, and wants it to work."""
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "sitecustomize.py").write_text(NOBODY)
    unwanted = ("HOME", "ECHOEXPORT_CACHE", "XDG_CACHE_HOME", "USER", "LOGNAME", "USERNAME")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    ways = [str(tmp_path / "nobody"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(ways)

    def run(*arguments: object) -> None:
        outcome = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=550,
        )
        assert outcome.returncode == 0, outcome.stderr

    return run


def test_commands_work_for_a_user_without_a_home(
    as_nobody: Callable[..., None],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
) -> None:
    as_nobody("doctor")
    given = ("-p", portrait_file, "-v", voice_file, "--frames", 1)
    as_nobody("run", null_bundle, *given, "-o", "out.mp4")
    assert (tmp_path / "out.mp4").stat().st_size > 0


@pytest.mark.slow
def test_a_user_without_a_home_builds_and_sees_the_demo(
    as_nobody: Callable[..., None], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("openvino")
    as_nobody("build", "--target", "cpu-openvino", "--check", "none", "-o", "b")
    as_nobody("demo", "-o", "demo")
    assert (tmp_path / "demo" / "out.mp4").stat().st_size > 0
