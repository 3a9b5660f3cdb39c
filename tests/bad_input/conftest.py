"""A clip that must be refused, and one that must work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def refused(
    refusal: Callable[..., str], null_bundle: Path, portrait_file: Path, voice_file: Path
) -> Callable[..., str]:
    """A function that runs a clip which must be refused, leaving no file; gives the one line."""

    def run(
        *options: object,
        portrait: Path = portrait_file,
        voice: Path = voice_file,
        output: str = "out.mp4",
    ) -> str:
        folder = voice_file.parent
        before = sorted(folder.iterdir())
        files = ("-p", portrait, "-v", voice, "-o", folder / output)
        message = refusal("run", null_bundle, *files, *options, "--no-cache")
        assert sorted(folder.iterdir()) == before
        return message

    return run


@pytest.fixture
def accepted(
    command: Callable[..., Any], null_bundle: Path, portrait_file: Path, voice_file: Path
) -> Callable[..., Any]:
    """A function that runs a clip of one frame which must work; gives what it left."""

    def run(*options: object, portrait: Path = portrait_file, voice: Path = voice_file) -> Any:
        files = ("-p", portrait, "-v", voice, "-o", voice_file.parent / "out.mp4")
        outcome = command("run", null_bundle, *files, "--frames", 1, *options)
        assert outcome.code == 0, outcome
        assert (voice_file.parent / "out.mp4").stat().st_size > 0
        return outcome

    return run
