"""One build: its checkpoint opened, its settings settled, and in which order they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoexport.export.build.job import open_job
from echoexport.export.build.settings import BuildSettings
from echoexport.runtime.errors import CheckpointError, SettingError
from echoexport.targets.spec import load_target

BOARD = load_target("jetson-orin")


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


def test_a_job_has_the_targets_defaults_and_the_checkpoint_of_its_variant(checkpoint: Path) -> None:
    job = open_job(checkpoint, target=BOARD, settings=BuildSettings(frames=5), report=silent)
    assert (job.settings.precision, job.settings.size, job.settings.frames) == (
        "fp16",
        (256, 256),
        5,
    )
    assert (job.checkpoint.folder, job.checkpoint.variant.name) == (checkpoint, "acc")
    assert (job.target, job.report) == (BOARD, silent)


def test_a_checkpoint_that_is_not_there_is_told_of_before_a_setting_that_cannot_be(
    tmp_path: Path,
) -> None:
    settings = BuildSettings(precision="int3")
    with pytest.raises(CheckpointError, match="no such folder"):
        open_job(tmp_path / "nowhere", target=BOARD, settings=settings, report=silent)


def test_a_setting_that_cannot_be_is_refused(checkpoint: Path) -> None:
    with pytest.raises(SettingError, match="quality 0 dB: above 0 and at most 100 is wanted"):
        open_job(checkpoint, target=BOARD, settings=BuildSettings(quality=0.0), report=silent)
