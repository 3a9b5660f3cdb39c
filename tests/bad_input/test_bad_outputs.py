"""Outputs that cannot be written: nothing is left behind but one line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

BOX = ("--face-box", "20,20,76,76")


@pytest.mark.parametrize("output", ["no/such/folder/out.mp4", "no/such/folder"])
def test_an_output_whose_folder_is_missing(
    refused: Callable[..., str], tmp_path: Path, output: str
) -> None:
    message = refused(*BOX, output=output)
    assert str(tmp_path / output) in message
    assert "mkdir -p" in message


@pytest.mark.parametrize("output", ["out.gif", "out.avi", "out.wav"])
def test_an_output_of_a_kind_that_is_not_written(refused: Callable[..., str], output: str) -> None:
    message = refused(*BOX, output=output)
    assert output in message
    assert ".mp4" in message


def test_an_output_that_is_a_folder_with_things_in_it(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    assert str(tmp_path / "full") in refused(*BOX, output="full")


def test_the_voice_is_not_overwritten(
    refused: Callable[..., str], tmp_path: Path, voice_file: Path
) -> None:
    voice = voice_file.rename(tmp_path / "voice.mp4")
    assert "voice itself" in refused(*BOX, voice=voice, output="voice.mp4")


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """A folder that nobody may write to."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # as root: there is one that even root may not write to
        folder = Path("/proc")
    if os.access(folder, os.W_OK) and folder != Path("/proc"):
        pytest.skip("every folder can be written here")
    return folder


@pytest.mark.parametrize("name", ["out.mp4", "pngs"])
def test_an_output_folder_that_is_not_writable(
    refusal: Callable[..., str],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    closed_folder: Path,
    name: str,
) -> None:
    output = closed_folder / name
    message = refusal("run", null_bundle, "-p", portrait_file, "-v", voice_file, "-o", output, *BOX)
    assert str(output) in message


def test_a_bundles_folder_that_is_not_writable(
    refusal: Callable[..., str], tiny_checkpoint: Path, closed_folder: Path
) -> None:
    message = refusal("build", tiny_checkpoint, "-t", "cpu", "-o", closed_folder / "bundle")
    assert message.startswith(f"{closed_folder / 'bundle'}: cannot write the bundle: ")


@pytest.mark.parametrize("name", ["out.mp4", "pngs"])
def test_a_disk_that_fills_up_while_a_clip_is_written(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
    name: str,
) -> None:
    before = sorted(tmp_path.iterdir())
    files = ("-p", portrait_file, "-v", voice_file, "-o", tmp_path / name)
    process = start_command("run", null_bundle, *files, *BOX, "--no-cache", limit=64)
    assert read_failure(process).startswith(
        f"{tmp_path / name}: cannot be written (File too large)"
    )
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_that_is_full_behind_raw_frames(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    files = ("-p", portrait_file, "-v", voice_file, "-o", "-")
    with Path("/dev/full").open("wb") as full:
        process = start_command("run", null_bundle, *files, *BOX, "--no-cache", stdout=full)
        assert read_failure(process).startswith(
            "raw output: cannot be written (No space left on device)"
        )


def test_a_disk_that_fills_up_while_a_bundle_is_built(
    start_command: Callable[..., subprocess.Popen[bytes]],
    tiny_checkpoint: Path,
    trace_folder: Path,
    tmp_path: Path,
) -> None:
    before = sorted(tmp_path.iterdir())
    options = ("-t", "cpu", "--size", "128x128", "--trace-cache", trace_folder)
    process = start_command(
        "build", tiny_checkpoint, *options, "-o", tmp_path / "bundle", limit=1_000_000
    )
    assert read_failure(process).startswith(
        f"{tmp_path / 'bundle'}: cannot write the bundle: File too large"
    )
    assert sorted(tmp_path.iterdir()) == before


def read_failure(process: subprocess.Popen[bytes]) -> str:
    """The one line on stderr of a command that must fail, without its start."""
    error = process.communicate(timeout=100)[1].decode()
    assert process.returncode == 1
    assert "Traceback" not in error
    said = [line for line in error.splitlines() if line.startswith("echoexport: ")]
    assert len(said) == 1
    assert said[0].startswith("echoexport: error: ")
    assert error.splitlines()[-1] == said[0]
    return said[0].removeprefix("echoexport: error: ")
