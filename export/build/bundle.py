"""The build: a checkpoint folder in, a bundle folder out, written aside and renamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from echoexport.export.build.float_bundle import build_plain_bundle
from echoexport.export.build.settings import SMALL, BuildSettings, settle_precision
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import MissingPackageError
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import TargetSpec

__all__ = ["BuildSettings", "build_bundle"]


def build_bundle(
    checkpoint: Path,
    output: Path,
    *,
    target: TargetSpec,
    settings: BuildSettings,
    report: Progress | None = None,
) -> Manifest:
    """Trace the networks, write their weights, graphs and self-tests, and the manifest.

    ``output`` must not exist, be empty, or be a bundle, which is replaced at the end.
    Interrupted, the build leaves the old bundle or none. Graphs that were traced are
    kept in the cache, so the next build goes on from there.

    Raises:
        CheckpointError, SettingError, GraphError: the checkpoint, a setting or a graph
            that cannot be built.
        CalibrationError: a calibration set or a plan that cannot be used.
        QualityError: the quality asked for cannot be kept in int8.
        OutputError: the output folder cannot be written, is no bundle or one with other
            files in it, or the disk is full.
    """
    require_tools()
    build = _choose_build(settings, target)
    return build(
        checkpoint,
        output,
        target=target,
        settings=settings,
        report=report or (lambda what, done, total: None),
    )


def _choose_build(settings: BuildSettings, target: TargetSpec) -> Callable[..., Manifest]:
    """With a set or a plan: int8, auto, or fp16 with what overflows in fp32; else plainly."""
    if settle_precision(settings, target=target) in SMALL:
        from echoexport.export.build.int8.bundle import build_int8_bundle

        return build_int8_bundle
    if settings.calibration is not None or settings.plan is not None:
        from echoexport.export.build.fp16_bundle import build_fp16_bundle

        return build_fp16_bundle
    return build_plain_bundle


def require_tools() -> None:
    """Raise ``MissingPackageError`` where the export's libraries are not installed."""
    import importlib.util

    for package in ("torch", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, extra="export", purpose="echoexport build")
