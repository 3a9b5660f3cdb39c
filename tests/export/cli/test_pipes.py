"""Portraits and voices out of pipes, which can be read once, for the commands that read twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Piped = Callable[[Path], Path]


@pytest.fixture
def piped(tmp_path: Path) -> Piped:
    """A function that gives a pipe of a file's content, written to once."""

    def make(source: Path) -> Path:
        pipe = tmp_path / f"pipe-{source.stem}"
        os.mkfifo(pipe)
        threading.Thread(target=pipe.write_bytes, args=(source.read_bytes(),), daemon=True).start()
        return pipe

    return make


def test_a_profile_reads_pipes_once_for_all_its_rounds(
    command: Callable[..., Any],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
    piped: Piped,
) -> None:
    given = ("-p", piped(portrait_file), "-v", piped(voice_file))
    effort = ("--duration", 0.2, "--repeats", 2, "--warmup", 1, "-o", tmp_path / "profile")
    outcome = command("profile", null_bundle, *given, *effort)
    assert outcome.code == 0, outcome


def test_a_comparison_reads_pipes_once_for_both_bundles(
    command: Callable[..., Any],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    piped: Piped,
) -> None:
    given = ("-p", piped(portrait_file), "-v", piped(voice_file), "--seconds", 0.5)
    outcome = command("compare", null_bundle, null_bundle, *given)
    assert outcome.code == 0, outcome


def test_a_recording_of_pipes_is_that_of_their_files(
    command: Callable[..., Any],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
    piped: Piped,
) -> None:
    from echoexport.calibration.recording.sets import open_set

    found = []
    for portrait, voice in ((portrait_file, voice_file), (piped(portrait_file), piped(voice_file))):
        output = tmp_path / f"set-{portrait.name}"
        given = ("--portraits", portrait, "--voice", voice, "--samples", 2, "-o", output)
        outcome = command("calibrate", null_bundle, *given)
        assert outcome.code == 0, outcome
        manifest = open_set(output).manifest
        found.append((list(manifest.portraits.values()), list(manifest.voices.values())))
    assert found[0] == found[1]
