"""``echoexport tune`` on a bundle of zeros."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def tune(
    command: Callable[..., Any],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
) -> Callable[..., Any]:
    """A function that tunes the null bundle on a small portrait and half a second of sound."""

    def run(*options: object) -> Any:
        files = ("-p", portrait_file, "-v", voice_file, "--steps", "1,2", "--overlap", "1")
        return command("tune", null_bundle, *files, "-o", tmp_path / "tuning", *options)

    return run
