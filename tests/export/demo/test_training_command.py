"""``python -m echoexport.export.demo.training``: quick to explain itself, friendly in refusing, easy to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.export.demo.training.recipe import RECIPES, find_recipe
from echoexport.export.demo.training.sounds import Sound, write_sounds
from echoexport.runtime.errors import UnknownNameError

MODULE = "echoexport.export.demo.training"
Train = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def run(*options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", MODULE, *map(str, options)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_help_comes_without_importing_torch() -> None:
    code = (
        "import sys; from echoexport.export.demo.training.__main__ import train_command\n"
        "train_command(['--help'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "goes on where it was" in done.stdout
    assert time.monotonic() - begun < 10


def test_an_unknown_recipe_is_answered_with_the_nearest(train: Train, tmp_path: Path) -> None:
    done = train("--recipe", "smoek")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if "Did you mean 'smoke'?" in line]
    assert not list(tmp_path.iterdir())


def test_recipes_are_found_by_name() -> None:
    assert find_recipe("full").name == "full"
    assert {recipe.name for recipe in RECIPES.values()} == RECIPES.keys()
    with pytest.raises(UnknownNameError, match="full"):
        find_recipe("ful")


def test_every_number_of_a_recipe_is_in_its_digest() -> None:
    assert find_recipe("full").digest == "2d858b0f8142fe36"
    assert find_recipe("smoke").digest != find_recipe("full").digest


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--device", "quantum"), "device 'quantum'"),
        (("--device", "meta"), "training runs on cpu or cuda"),
        (("--device", "cuda:77"), "PyTorch sees no such GPU here"),
        (("--workers", "0"), "--workers"),
        (("--minutes", "-1"), "--minutes"),
        (("--until", "unets"), "--until"),
    ],
)
def test_what_cannot_work_is_one_line(train: Train, tmp_path: Path, options: tuple[str, ...], named: str) -> None:
    done = train("--recipe", "smoke", *options)
    assert done.returncode == 1
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(train: Train, tmp_path: Path) -> None:
    (tmp_path / "character").write_text("mine")
    done = train("--recipe", "smoke", "--device", "cpu")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be written" in done.stderr
    assert (tmp_path / "character").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_well(tmp_path: Path, micro_sounds: list[Sound], number: signal.Signals) -> None:
    recipe = find_recipe("smoke")
    write_sounds(tmp_path / f"sounds-{recipe.voices}-{recipe.seed}.npz", micro_sounds)
    command = [sys.executable, "-u", "-m", MODULE, "-o", str(tmp_path), "--recipe", "smoke", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "on cpu" in line:
                process.send_signal(number)
        _, errors = process.communicate()
        guard.cancel()
    assert (process.returncode, errors) == (0, "")
    assert "audio: stopped at step 0 of 4; state saved; run the command again to go on" in lines[-1]
    assert (tmp_path / "audio.state.pt").is_file()
    assert not list(tmp_path.glob(".*"))
