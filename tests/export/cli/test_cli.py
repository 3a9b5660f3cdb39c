"""The command line as a whole: help without heavy libraries, signals, errors in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.cli import cli, main

COMMANDS = (
    "build",
    "calibrate",
    "compile",
    "run",
    "live",
    "serve",
    "load",
    "sign",
    "trust",
    "verify",
    "inspect",
    "compare",
    "profile",
    "tune",
    "cache",
    "targets",
    "doctor",
    "demo",
)
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "av", "PIL", "tqdm")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command: Callable[..., Any], name: str) -> None:
    outcome = command(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: echoexport {name} ")


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ()])
def test_the_help_lists_every_command(
    command: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    outcome = command(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    listed = [
        line.split()[0] for line in outcome.out.split("Commands:")[1].splitlines() if line.strip()
    ]
    assert tuple(listed) == COMMANDS


def test_help_and_the_list_of_targets_load_no_heavy_library() -> None:
    lines = [
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
        ["targets"],
        ["targets", "jetson-orin"],
    ]
    program = (
        "import json, sys\nfrom echoexport.export.cli import main\n"
        "for line in json.loads(sys.argv[1]): main(line)\n"
        "print('loaded', *(name for name in json.loads(sys.argv[2]) if name in sys.modules))"
    )
    call = [sys.executable, "-c", program, json.dumps(lines), json.dumps(HEAVY)]
    result = subprocess.run(call, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "loaded"


def test_the_version_is_the_distributions(command: Callable[..., Any]) -> None:
    outcome = command("--version")
    assert outcome.code == 0
    assert outcome.out.split()[0] == "echoexport"


@pytest.mark.parametrize(
    ("given_name", "nearest"), [("bild", "build"), ("verfy", "verify"), ("target", "targets")]
)
def test_an_unknown_command_is_answered_with_the_nearest(
    refusal: Callable[..., str], given_name: str, nearest: str
) -> None:
    assert f"Did you mean '{nearest}'?" in refusal(given_name)


def test_an_unknown_option_is_answered_with_the_nearest(refusal: Callable[..., str]) -> None:
    message = refusal("run", "bundle", "--stesp", "3")
    assert "--stesp" in message
    assert "--steps" in message.split("--stesp", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("run",), "BUNDLE"),
        (("run", "bundle"), "--portrait"),
        (("run", "bundle", "-p", "x.png"), "--voice"),
        (("run", "bundle", "-p", "x.png", "-v", "x.wav"), "--output"),
        (("build", "checkpoint"), "--target"),
        (("build", "checkpoint", "-t", "cpu"), "--output"),
        (("verify",), "BUNDLE"),
        (("inspect",), "BUNDLE"),
    ],
)
def test_what_a_command_needs_is_asked_for_by_name(
    refusal: Callable[..., str], arguments: tuple[str, ...], missing: str
) -> None:
    message = refusal(*arguments)
    assert missing in message
    assert f"see 'echoexport {arguments[0]} --help'" in message


@pytest.mark.parametrize("option", ["--steps", "--frames", "--overlap", "--seed", "--threads"])
def test_a_word_for_a_number_is_refused(refusal: Callable[..., str], option: str) -> None:
    message = refusal("run", "bundle", "-p", "x.png", "-v", "x.wav", "-o", "x.mp4", option, "many")
    assert option in message
    assert "many" in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line(
    start_command: Callable[..., subprocess.Popen[bytes]],
) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start_command("targets", stdout=full)
        error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert error == "echoexport: error: standard output: No space left on device\n"


def test_a_reader_that_leaves_early_gets_no_traceback(
    start_command: Callable[..., subprocess.Popen[bytes]],
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = start_command("targets", stdout=write_end)
    os.close(write_end)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 1


def test_termination_unwinds_and_leaves_nothing(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    make_voice: Any,
) -> None:
    folder = portrait_file.parent
    voice = make_voice(seconds=60)
    before = sorted(folder.iterdir())
    process = start_command(
        "run",
        null_bundle,
        "--backend",
        "null",
        "-p",
        portrait_file,
        "-v",
        voice,
        "-o",
        folder / "a.mp4",
        "--no-cache",
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"sampling"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert sorted(folder.iterdir()) == before


def test_a_second_interrupt_does_not_disturb_the_clearing_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cleared = []

    def work(**_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            cleared.append("all")

    monkeypatch.setattr(cli, "main", work)
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with pytest.raises(SystemExit, match="130"):
            main([])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert cleared == ["all"]


def test_a_warning_is_told_once_a_command(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn_twice(*_: Any, **__: Any) -> None:
        for _ in range(2):
            warnings.showwarning("the cache cannot be made", RuntimeWarning, "a file", 1)

    monkeypatch.setattr(cli, "main", warn_twice)
    for _ in range(2):
        assert command("targets").err == "echoexport: warning: the cache cannot be made\n"
