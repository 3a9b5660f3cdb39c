"""The build: a checkpoint folder in, a bundle folder out, written aside and renamed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from echoexport.export.build.description import describe_bundle
from echoexport.export.build.float_bundle import (
    _add_files,
    _build_networks,
    _check_and_write,
    _check_audio,
    _NetworkPlan,
)
from echoexport.export.build.settings import SMALL, BuildSettings, settle
from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.ort_cuda import add_own_graphs
from echoexport.export.output_folder import written_aside
from echoexport.export.sizes import size_networks
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.contract.families.echomimic_v1 import NETWORKS, describe_networks
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import MissingPackageError
from echoexport.runtime.progress import Progress
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.targets.spec import TargetSpec

__all__ = ["BuildSettings", "build_bundle"]


def build_bundle(
    checkpoint: Path,
    output: Path,
    *,
    target: TargetSpec,
    settings: BuildSettings,
    report: Progress | None = None,
    whole: bool = True,
) -> Manifest:
    """Trace the six networks, write their weights, graphs and self-tests, and the manifest.

    ``output`` must not exist, be empty, or be a bundle, which is replaced at the end.
    Interrupted, the build leaves the old bundle or none; graphs that were traced are
    kept in the cache, so the next build goes on from there. ``whole`` False leaves out
    the graphs for single backends: for a bundle that others are made of.

    Raises:
        CheckpointError, SettingError, GraphError: the checkpoint, a setting or a graph
            that cannot be built. OutputError: the output folder cannot be written, is
            no bundle or one with other files in it, or the disk is
            full.
    """
    report = report or (lambda what, done, total: None)
    require_tools()
    opened = open_checkpoint(checkpoint, settings.variant)
    settings = settle(settings, target=target)
    if settings.precision in SMALL or settings.calibration is not None or settings.plan is not None:
        return _build_calibrated(opened, output, target=target, settings=settings, report=report)
    sizes = size_networks(
        opened.architecture,
        size=settings.size or (0, 0),
        frames=settings.frames or 0,
        face=opened.variant.face,
    )
    _check_audio(opened)
    steps = opened.variant.steps if settings.steps is None else settings.steps
    DDIMScheduler(opened.settings.scheduler).timesteps(
        steps
    )  # refuses a number of steps that cannot be
    specs = describe_networks(sizes, precision=settings.precision or "")
    plans = [_NetworkPlan(opened, specs[name], settings.traces) for name in NETWORKS]
    with written_aside(output) as folder, ThreadPoolExecutor(1) as hasher:
        hashes = {path: hasher.submit(describe_file, path) for path in opened.files()}
        try:
            networks = _build_networks(plans, folder, report=report)
            entries = {name: built.entry for name, built in networks.items()}
            manifest = describe_bundle(opened, sizes, entries, target=target, settings=settings)
            manifest = _add_files(manifest, folder, opened, networks=networks, hashes=hashes)
            manifest = add_own_graphs(manifest, folder, target=target) if whole else manifest
            manifest = _check_and_write(
                manifest, folder, target=target, settings=settings, report=report
            )
        finally:
            hasher.shutdown(cancel_futures=True)
    return manifest


def _build_calibrated(
    opened: Checkpoint,
    output: Path,
    *,
    target: TargetSpec,
    settings: BuildSettings,
    report: Progress,
) -> Manifest:
    """With a set or a plan: int8, auto, or fp16 with what overflows in fp32."""
    from echoexport.export.build.fp16_bundle import build_half_bundle
    from echoexport.export.build.int8_bundle import build_small_bundle
    from echoexport.export.build.int8_networks import check_sources
    from echoexport.export.demo.assets import is_builtin

    check_sources(settings, builtin=is_builtin(opened.folder))

    def build(folder: Path, wanted: BuildSettings) -> Manifest:
        return build_bundle(
            opened.folder, folder, target=target, settings=wanted, report=report, whole=False
        )

    compose = build_small_bundle if settings.precision in SMALL else build_half_bundle
    return compose(build, output, target=target, settings=settings, report=report)


def require_tools() -> None:
    """Raise ``MissingPackageError`` where the export's libraries are not installed."""
    import importlib.util

    for package in ("torch", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, extra="export", purpose="echoexport build")
