"""What a calibrated build starts from: its networks in float, and a set or a plan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.plan import QuantizationPlan, read_plan
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.export.build.float_bundle import write_float_bundle
from echoexport.export.build.fp16_graphs import settle_graphs
from echoexport.export.build.job import BundleJob
from echoexport.export.build.progress import find_builtin_set
from echoexport.export.build.settings import SMALL, BuildSettings
from echoexport.export.demo.assets import is_builtin
from echoexport.export.output_folder import check_bundle_place
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import CalibrationError, SettingError
from echoexport.runtime.files.staging import staged_folder


@dataclass(frozen=True, eq=False)
class FloatBundles:
    """What quantization starts from."""

    float32: Path
    """Ranges and choices are measured on it."""
    base: Path
    """Its graphs become int8."""
    manifest: Manifest

    def graph(self, name: str) -> FloatGraph:
        """A network in fp32."""
        return FloatGraph(self.float32 / self.manifest.networks[name].graph)

    @property
    def precision(self) -> str:
        """Of ``base``: "fp32" or "fp16"."""
        return "fp32" if self.base == self.float32 else "fp16"

    def settle(self, plan: QuantizationPlan) -> None:
        """Rewrite fp16 networks so that the plan's nodes are computed in fp32; fp32 ones stay."""
        if self.precision == "fp16":
            settle_graphs(self.float32, self.base, plan.networks)


@contextmanager
def float_bundles(job: BundleJob, *, near: Path) -> Iterator[FloatBundles]:
    """The bundles to start from, built beside the output for as long as they are needed.

    Raises:
        CheckpointError, SettingError, GraphError: the checkpoint, a setting or a graph
            that cannot be built.
        OutputError: what lies at the output must stay.
    """
    near = Path(os.path.realpath(near))
    check_bundle_place(near)
    near.parent.mkdir(parents=True, exist_ok=True)
    with staged_folder(near, mode=0o700) as folder:
        float32 = folder / "fp32"
        half = folder / "fp16"
        manifest = write_float_bundle(_in_float(job, "fp32"), float32, whole=False)
        if job.target.kind == "cpu" and job.settings.precision in SMALL:
            yield FloatBundles(float32, float32, manifest)
            return
        write_float_bundle(_in_float(job, "fp16"), half, whole=False)
        yield FloatBundles(float32, half, manifest)


def _in_float(job: BundleJob, precision: str) -> BundleJob:
    settings = replace(
        job.settings,
        precision=precision,
        check="none",
        calibration=None,
        plan=None,
        progress=None,
    )
    return replace(job, settings=settings)


def check_sources(job: BundleJob) -> None:
    """Refuse a set or plan that cannot be used before anything is built.

    Raises:
        SettingError: no calibration set is named, and the checkpoint is not the
            built-in character's.
        CalibrationError: the set or the plan is broken, or the set of another size.
    """
    settings = job.settings
    if settings.calibration is not None:
        _check_set(settings.calibration, settings)
    elif settings.precision in SMALL and not is_builtin(job.checkpoint.folder):
        raise SettingError(
            f"precision {settings.precision!r} needs a calibration set: record one with "
            "'echoexport calibrate CHECKPOINT --portraits DIR --voice DIR -o SET', then build "
            "with --calibration SET"
        )
    if settings.plan is not None:
        read_plan(settings.plan)


def _check_set(folder: Path, settings: BuildSettings) -> None:
    source = open_set(folder).manifest.source
    size = settings.size
    if size is not None and size != (source.width, source.height):
        raise CalibrationError(
            f"{folder}: was recorded at {source.width}x{source.height} px, this build is for "
            f"{size[0]}x{size[1]}; record another set, or build at its --size"
        )


@contextmanager
def found_set(floats: FloatBundles, job: BundleJob) -> Iterator[CalibrationSet]:
    """The set that was named; else the built-in character's, which is recorded now.

    Raises:
        CalibrationError: the set is broken, or of another checkpoint or size.
    """
    settings = job.settings
    if settings.calibration is not None:
        recorded = open_set(settings.calibration)
        recorded.require_of(floats.manifest)
        yield recorded
        return
    with find_builtin_set(floats.float32, floats.manifest, settings, report=job.report) as recorded:
        yield recorded


def check_networks(plan: QuantizationPlan, manifest: Manifest) -> None:
    """Raises CalibrationError for a plan of a network that the bundle lacks."""
    known = manifest.networks
    unknown = sorted(plan.networks.keys() - known.keys())
    if unknown:
        raise CalibrationError(f"plan: network {unknown[0]!r}; known: {', '.join(known)}")
