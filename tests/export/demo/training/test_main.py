"""``python -m echoexport.export.demo.training``.

Quick to explain itself, friendly in refusing, easy to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from echoexport.export.demo.training.__main__ import main
from echoexport.export.demo.training.recipe import find_recipe
from echoexport.export.demo.training.sounds import Sound, write_sounds

MODULE = "echoexport.export.demo.training"


Refusal = Callable[..., str]


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Refusal]:
    """A function that runs the command in an empty folder, where it must fail.

    It gives the command's one line.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)

    def run(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["training", *options])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_help_comes_without_importing_torch() -> None:
    code = (
        "import sys; from echoexport.export.demo.training.__main__ import train_command\n"
        "train_command(['--help'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "same result" in done.stdout


def test_an_unknown_recipe_is_answered_with_the_nearest(refusal: Refusal, tmp_path: Path) -> None:
    assert "Did you mean 'smoke'?" in refusal("--recipe", "smoek")
    assert not list(tmp_path.iterdir())


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
def test_what_cannot_work_is_one_line(
    refusal: Refusal, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    assert named in refusal("--recipe", "smoke", *options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "character").write_text("mine")
    assert "recipe.json: cannot be written" in refusal("--recipe", "smoke", "--device", "cpu")
    assert (tmp_path / "character").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_well(
    tmp_path: Path, micro_sounds: list[Sound], number: signal.Signals
) -> None:
    recipe = find_recipe("smoke")
    write_sounds(tmp_path / f"sounds-{recipe.voices}-{recipe.seed}.npz", micro_sounds)
    command = [
        sys.executable,
        "-u",
        "-m",
        MODULE,
        "-o",
        str(tmp_path),
        "--recipe",
        "smoke",
        "--device",
        "cpu",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
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
