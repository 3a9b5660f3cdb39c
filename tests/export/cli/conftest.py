"""What the tests of several commands share: a profile, a build that only listens, a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.contract.manifest import Manifest, read_manifest


@pytest.fixture
def profiled(command: Callable[..., Any], null_bundle: Path, tmp_path: Path) -> Path:
    """A folder with the reports of the null bundle."""
    outcome = command(
        "profile",
        null_bundle,
        "--duration",
        "0.5",
        "--repeats",
        "2",
        "--warmup",
        "0",
        "-o",
        tmp_path / "one",
    )
    assert outcome.code == 0, outcome
    return tmp_path / "one"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, null_bundle: Path) -> dict[str, Any]:
    """What the command line asks of the build, which then does nothing."""
    given: dict[str, Any] = {}

    def stand_in(checkpoint: Path, output: Path, **rest: Any) -> Manifest:
        given.update(checkpoint=checkpoint, output=output, **rest)
        return read_manifest(null_bundle)

    monkeypatch.setattr("echoexport.export.build.bundle.build_bundle", stand_in)
    return given


@pytest.fixture
def run(
    command: Callable[..., Any], null_bundle: Path, portrait_file: Path, voice_file: Path
) -> Callable[..., Any]:
    """A function that runs the null bundle on a small portrait and half a second of sound."""

    def call(
        output: object, *options: object, voice: Path = voice_file, bundle: Path = null_bundle
    ) -> Any:
        return command("run", bundle, "-p", portrait_file, "-v", voice, "-o", output, *options)

    return call
