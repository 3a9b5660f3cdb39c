"""The build: a checkpoint folder in, a bundle folder out, written aside and renamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from echoexport.calibration.graph_lint import require_clean
from echoexport.export.build_checks import check_bundle
from echoexport.export.build_settings import SMALL, BuildSettings, settle
from echoexport.export.bundle_description import describe_bundle
from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.composite import describe_file
from echoexport.export.half_graphs import NOT_SETTLED
from echoexport.export.ort_cuda import add_own_graphs
from echoexport.export.output_folder import written_aside
from echoexport.export.self_test import make_inputs
from echoexport.export.sizes import size_networks
from echoexport.export.traces import find_trace
from echoexport.export.weights import WrittenWeights, write_weights
from echoexport.export.work import count_work
from echoexport.runtime.errors import GraphError, MissingPackageError
from echoexport.runtime.manifest import FileEntry, Manifest, NetworkEntry, write_manifest
from echoexport.runtime.scheduler import DDIMScheduler
from echoexport.runtime.spec import NETWORKS, PRECISIONS, SubnetSpec, describe_networks
from echoexport.targets.spec import TargetSpec

__all__ = ["BuildSettings", "build_bundle"]

Report = Callable[[str, int, int], None]
"""Progress: what is being done, how many of how many steps are behind."""

_STAGES = ("trace", "weights", "self-test")


@dataclass(frozen=True)
class BuiltNetwork:
    """What building one network left in the folder."""

    entry: NetworkEntry
    weights: WrittenWeights
    cached: bool


def build_bundle(
    checkpoint: Path,
    output: Path,
    *,
    target: TargetSpec,
    settings: BuildSettings,
    report: Report | None = None,
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
    opened: Checkpoint, output: Path, *, target: TargetSpec, settings: BuildSettings, report: Report
) -> Manifest:
    """With a set or a plan: int8, auto, or fp16 with what overflows in fp32."""
    from echoexport.export.demo.assets import is_builtin
    from echoexport.export.half_build import build_half_bundle
    from echoexport.export.quantized_build import check_sources
    from echoexport.export.small_bundle import build_small_bundle

    check_sources(settings, builtin=is_builtin(opened.folder))

    def build(folder: Path, wanted: BuildSettings) -> Manifest:
        return build_bundle(
            opened.folder, folder, target=target, settings=wanted, report=report, whole=False
        )

    compose = build_small_bundle if settings.precision in SMALL else build_half_bundle
    return compose(build, output, target=target, settings=settings, report=report)


def _check_and_write(
    manifest: Manifest, folder: Path, *, target: TargetSpec, settings: BuildSettings, report: Report
) -> Manifest:
    """Write the manifest, let the bundle prove itself, and note in the manifest how it did."""
    write_manifest(manifest, folder)
    steps = len(NETWORKS) * len(_STAGES)
    notes = check_bundle(
        folder,
        manifest,
        target=target,
        which=settings.check,
        tell=lambda what: report(what, steps - 1, steps),
    )
    unsettled = [NOT_SETTLED] if settings.precision == "fp16" else []
    made = replace(manifest.provenance, notes=(*manifest.provenance.notes, *unsettled, *notes))
    manifest = replace(manifest, provenance=made)
    write_manifest(manifest, folder)
    report("bundle: written", steps, steps)
    return manifest


def require_tools() -> None:
    """Raise ``MissingPackageError`` where the export's libraries are not installed."""
    import importlib.util

    for package in ("torch", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, extra="export", purpose="echoexport build")


@dataclass(frozen=True)
class _NetworkPlan:
    """One network to build."""

    checkpoint: Checkpoint
    spec: SubnetSpec
    traces: Path | None

    def resolve_weights(self) -> dict[str, StoredTensor]:
        from echoexport.export.subnets.networks import build_network, wanted_shapes

        wanted = wanted_shapes(build_network(self.spec.name, self.checkpoint.architecture))
        return self.checkpoint.weights(self.spec.name, wanted)

    def build(
        self,
        weights: Mapping[str, StoredTensor],
        folder: Path,
        *,
        golden: dict[str, dict[str, np.ndarray]],
        advance: Callable[[str], None],
    ) -> BuiltNetwork:
        name = self.spec.name
        advance(f"{name}: trace")
        trace = find_trace(self.spec, self.checkpoint.architecture, folder=self.traces)
        require_clean(trace.model, self.spec)
        (folder / f"{name}.onnx").write_bytes(trace.model.SerializeToString())
        advance(f"{name}: weights")
        written = write_weights(trace.model, weights, path=folder / f"{name}.bin")
        advance(f"{name}: self-test")
        golden[name] = self._write_self_test(weights, folder, golden)
        entry = NetworkEntry(
            graph=f"{name}.onnx",
            weights=f"{name}.bin",
            self_test=f"self-test/{name}.npz",
            precision=_precision_name(self.spec),
            opset=trace.model.opset_import[0].version,
            parameters=written.parameters,
            inputs=self.spec.inputs,
            outputs=self.spec.outputs,
            tolerances=self.spec.tolerances,
            work=count_work(trace.model),
        )
        return BuiltNetwork(entry, written, trace.cached)

    def _write_self_test(
        self,
        weights: Mapping[str, StoredTensor],
        folder: Path,
        earlier: Mapping[str, dict[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        from echoexport.export.subnets.golden import compute_golden

        inputs = make_inputs(self.spec, earlier)
        outputs = compute_golden(
            self.spec, self.checkpoint.architecture, weights=weights, inputs=inputs
        )
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise GraphError(
                    f"{self.spec.name}: output {name!r} is not finite on the self-test inputs; "
                    "is the "
                    "checkpoint trained?"
                )
        path = folder / "self-test" / f"{self.spec.name}.npz"
        path.parent.mkdir(exist_ok=True)
        arrays = {
            **{f"input.{k}": v for k, v in inputs.items()},
            **{f"output.{k}": v for k, v in outputs.items()},
        }
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return outputs


def _build_networks(
    plans: list[_NetworkPlan], folder: Path, *, report: Report
) -> dict[str, BuiltNetwork]:
    """All of them; weights are matched first, so that a bad checkpoint fails before the long work."""
    report("checkpoint: matching keys and shapes", 0, len(plans) * len(_STAGES))
    weights = [plan.resolve_weights() for plan in plans]
    golden: dict[str, dict[str, np.ndarray]] = {}
    built = {}
    done = 0

    def advance(what: str) -> None:
        nonlocal done
        report(what, done, len(plans) * len(_STAGES))
        done += 1

    for plan, table in zip(plans, weights, strict=True):
        built[plan.spec.name] = plan.build(table, folder, golden=golden, advance=advance)
    return built


def _precision_name(spec: SubnetSpec) -> str:
    return next(name for name, dtype in PRECISIONS.items() if dtype == spec.inputs[0].dtype)


def _check_audio(opened: Checkpoint) -> None:
    wanted = opened.architecture.unet.audio_width
    found = opened.architecture.audio.width
    if wanted != found:
        raise GraphError(
            f"{opened.audio.path}: the audio encoder is {found} wide, the denoiser's "
            f"attn2.to_k wants {wanted}"
        )


def _add_files(
    manifest: Manifest,
    folder: Path,
    opened: Checkpoint,
    *,
    networks: Mapping[str, BuiltNetwork],
    hashes: Mapping[Path, Future[FileEntry]],
) -> Manifest:
    files = {}
    for built in networks.values():
        files[built.entry.weights] = built.weights.file  # hashed as it was written
        for name in (built.entry.graph, built.entry.self_test):
            files[name] = describe_file(folder / name)
    sources = {
        path.relative_to(opened.folder).as_posix(): future.result()
        for path, future in hashes.items()
    }
    return replace(
        manifest, files=files, provenance=replace(manifest.provenance, checkpoint_files=sources)
    )
