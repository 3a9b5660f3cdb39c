"""From a checkpoint to a bundle in fp32 or fp16.

Its networks are traced, described, self-tested and written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.lint.graph_lint import require_clean
from echoexport.export.build.checks import check_bundle
from echoexport.export.build.description import describe_bundle
from echoexport.export.build.fp16_graphs import NOT_SETTLED
from echoexport.export.build.job import BundleJob, open_job
from echoexport.export.build.own_graphs import add_backend_graphs
from echoexport.export.build.settings import BuildSettings
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.graphs.count_work import count_work
from echoexport.export.graphs.mean_speech import MeanSpeech, find_mean_speech, make_padding
from echoexport.export.graphs.self_test_inputs import make_inputs
from echoexport.export.graphs.traces import find_trace
from echoexport.export.graphs.weights import (
    WrittenWeights,
    embed_constants,
    require_shared,
    write_weights,
)
from echoexport.export.output_folder import written_aside
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.graph_builder import weights_file
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.contract.families.echomimic_v1 import (
    FAMILY,
    NetworkSizes,
    describe_networks,
)
from echoexport.runtime.contract.live_networks import LIVE_AUDIO, LIVE_DENOISER
from echoexport.runtime.contract.manifest import FileEntry, Manifest, NetworkEntry, write_manifest
from echoexport.runtime.contract.spec import PRECISIONS, SubnetSpec
from echoexport.runtime.errors import GraphError
from echoexport.runtime.progress import Progress, Tell
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.targets.spec import TargetSpec

if TYPE_CHECKING:
    from onnx import ModelProto

_STAGES = ("trace", "weights", "self-test")


def build_plain_bundle(
    checkpoint: Path, output: Path, *, target: TargetSpec, settings: BuildSettings, report: Progress
) -> Manifest:
    """A bundle whose networks all have one float precision; fp16 without a look at what overflows.

    Raises:
        CheckpointError, SettingError, GraphError: the checkpoint, a setting or a graph
            that cannot be built.
        OutputError: the output cannot be written.
    """
    job = open_job(checkpoint, target=target, settings=settings, report=report)
    return write_float_bundle(job, output)


def write_float_bundle(job: BundleJob, output: Path, *, whole: bool = True) -> Manifest:
    """Trace the networks, write their weights, graphs and self-tests, and the manifest.

    ``whole`` False leaves out the graphs for single backends: for a bundle that others
    are made of.

    Raises:
        CheckpointError, SettingError, GraphError, OutputError: as ``build_plain_bundle``.
    """
    sizes = _size_networks(job)
    specs = describe_networks(sizes, precision=job.settings.precision or "")
    speech = find_mean_speech(job.checkpoint.architecture.audio) if sizes.live else None
    plans = [
        _NetworkPlan(job.checkpoint, spec, job.settings.traces, speech) for spec in specs.values()
    ]
    with written_aside(output) as folder, _hashes(job.checkpoint.files()) as hashes:
        networks = _build_networks(plans, folder, report=job.report)
        entries = {name: built.entry for name, built in networks.items()}
        manifest = describe_bundle(
            job.checkpoint,
            sizes,
            entries,
            target=job.target,
            settings=job.settings,
            notes=[] if speech is None else [speech.describe()],
        )
        manifest = _add_files(manifest, folder, job.checkpoint, networks=networks, hashes=hashes)
        if whole:
            manifest = add_backend_graphs(manifest, folder, job=job)
        return _check_and_write(manifest, folder, job)


def _size_networks(job: BundleJob) -> NetworkSizes:
    """The sizes of all networks; what cannot work is refused before anything is traced."""
    opened = job.checkpoint
    sizes = size_networks(
        opened.architecture,
        size=job.settings.size or (0, 0),
        frames=job.settings.frames or 0,
        face=opened.variant.face,
        live=job.settings.live,
    )
    _check_audio(opened)
    steps = opened.variant.steps if job.settings.steps is None else job.settings.steps
    DDIMScheduler(opened.settings.scheduler).timesteps(steps)  # refuses a number that cannot be
    return sizes


def _check_audio(opened: Checkpoint) -> None:
    wanted = opened.architecture.unet.audio_width
    found = opened.architecture.audio.width
    if wanted != found:
        raise GraphError(
            f"{opened.audio.path}: the audio encoder is {found} wide, the denoiser's "
            f"attn2.to_k wants {wanted}"
        )


@contextmanager
def _hashes(paths: list[Path]) -> Iterator[Mapping[Path, Future[FileEntry]]]:
    """Hashes of large files, taken while other work goes on."""
    with ThreadPoolExecutor(1) as hasher:
        try:
            yield {path: hasher.submit(describe_file, path) for path in paths}
        finally:
            hasher.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class BuiltNetwork:
    """What building one network left in the folder."""

    entry: NetworkEntry
    weights: WrittenWeights
    cached: bool


@dataclass(frozen=True)
class _NetworkPlan:
    """One network to build."""

    checkpoint: Checkpoint
    spec: SubnetSpec
    traces: Path | None
    speech: MeanSpeech | None
    """None where nothing is made of it."""

    @property
    def owner(self) -> str:
        """The network whose weights this one reads."""
        return FAMILY.owner_of(self.spec.name)

    def resolve_weights(self) -> dict[str, StoredTensor]:
        from echoexport.export.subnets.networks import build_network, wanted_shapes

        architecture = self.checkpoint.architecture
        wanted = wanted_shapes(build_network(self.spec.name, architecture))
        weights = self.checkpoint.weights(self.owner, wanted)
        if self.spec.name == LIVE_AUDIO and self.speech is not None:
            weights |= make_padding(architecture.audio, weights, speech=self.speech)
        return weights

    def build(
        self,
        weights: Mapping[str, StoredTensor],
        folder: Path,
        *,
        earlier: Mapping[str, BuiltNetwork],
        golden: dict[str, dict[str, np.ndarray]],
        advance: Tell,
    ) -> BuiltNetwork:
        name = self.spec.name
        advance(f"{name}: trace")
        trace = find_trace(self.spec, self.checkpoint.architecture, folder=self.traces)
        embed_constants(trace.model, weights)
        require_clean(trace.model, self.spec)
        (folder / f"{name}.onnx").write_bytes(trace.model.SerializeToString())
        advance(f"{name}: weights")
        written = self._write_weights(trace.model, weights, folder, earlier)
        advance(f"{name}: self-test")
        golden[name] = self._write_self_test(weights, folder, golden)
        entry = self._describe(trace.model, parameters=written.parameters)
        return BuiltNetwork(entry, written, trace.cached)

    def _write_weights(
        self,
        model: ModelProto,
        weights: Mapping[str, StoredTensor],
        folder: Path,
        earlier: Mapping[str, BuiltNetwork],
    ) -> WrittenWeights:
        """The file of its own, or the one of the network that it shares with."""
        if self.owner == self.spec.name:
            return write_weights(model, weights, path=folder / weights_file(self.spec.name))
        owner = earlier[self.owner]
        require_shared(model, FloatGraph(folder / owner.entry.graph).model)
        return owner.weights

    def _describe(self, model: ModelProto, *, parameters: int) -> NetworkEntry:
        name = self.spec.name
        return NetworkEntry(
            graph=f"{name}.onnx",
            weights=weights_file(name),
            self_test=f"self-test/{name}.npz",
            precision=_precision_name(self.spec),
            opset=model.opset_import[0].version,
            parameters=parameters,
            inputs=self.spec.inputs,
            outputs=self.spec.outputs,
            tolerances=self.spec.tolerances,
            work=count_work(model),
        )

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
        self._require_finite(outputs)
        name = self.spec.name
        path = folder / "self-test" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        arrays = {
            **{f"input.{k}": v for k, v in inputs.items()},
            **{f"output.{k}": v for k, v in outputs.items()},
        }
        # a state of past frames is large and repeats itself
        save = np.savez_compressed if name == LIVE_DENOISER else np.savez
        save(path, **arrays)  # type: ignore[arg-type]
        return outputs

    def _require_finite(self, outputs: Mapping[str, np.ndarray]) -> None:
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise GraphError(
                    f"{self.spec.name}: output {name!r} is not finite on the self-test inputs; "
                    "is the checkpoint trained?"
                )


def _precision_name(spec: SubnetSpec) -> str:
    return next(name for name, dtype in PRECISIONS.items() if dtype == spec.inputs[0].dtype)


def _build_networks(
    plans: list[_NetworkPlan], folder: Path, *, report: Progress
) -> dict[str, BuiltNetwork]:
    """All of them.

    Weights are matched first, so that a bad checkpoint fails before the long work.
    """
    report("checkpoint: matching keys and shapes", 0, len(plans) * len(_STAGES))
    weights = [plan.resolve_weights() for plan in plans]
    golden: dict[str, dict[str, np.ndarray]] = {}
    built: dict[str, BuiltNetwork] = {}
    done = 0

    def advance(what: str) -> None:
        nonlocal done
        report(what, done, len(plans) * len(_STAGES))
        done += 1

    for plan, table in zip(plans, weights, strict=True):
        built[plan.spec.name] = plan.build(
            table, folder, earlier=built, golden=golden, advance=advance
        )
    return built


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
    made = replace(manifest.provenance, checkpoint_files=sources)
    return replace(manifest, files=files, provenance=made)


def _check_and_write(manifest: Manifest, folder: Path, job: BundleJob) -> Manifest:
    """Write the manifest, let the bundle prove itself, and note in the manifest how it did."""
    write_manifest(manifest, folder)
    steps = len(manifest.networks) * len(_STAGES)
    notes = check_bundle(
        folder,
        manifest,
        target=job.target,
        which=job.settings.check,
        tell=lambda what: job.report(what, steps - 1, steps),
    )
    unsettled = [NOT_SETTLED] if job.settings.precision == "fp16" else []
    made = replace(manifest.provenance, notes=(*manifest.provenance.notes, *unsettled, *notes))
    manifest = replace(manifest, provenance=made)
    write_manifest(manifest, folder)
    job.report("bundle: written", steps, steps)
    return manifest
