"""One build: its checkpoint, its target, how it was asked for, and whom it tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from echoexport.export.build.settings import BuildSettings, settle
from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import TargetSpec


@dataclass(frozen=True, eq=False)
class BundleJob:
    """What every step of a build works from."""

    checkpoint: Checkpoint
    target: TargetSpec
    settings: BuildSettings
    """Settled: with the target's defaults filled in."""
    report: Progress


def open_job(
    checkpoint: Path, *, target: TargetSpec, settings: BuildSettings, report: Progress
) -> BundleJob:
    """The checkpoint opened for the variant asked for, and the settings settled for the target.

    Raises:
        CheckpointError: a file is missing or broken.
        SettingError: a precision, a check or a quality that cannot be.
        UnknownNameError: no such variant.
    """
    opened = open_checkpoint(checkpoint, settings.variant)
    return BundleJob(opened, target, settle(settings, target=target), report)
