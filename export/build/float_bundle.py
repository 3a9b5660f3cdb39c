"""From a checkpoint to a bundle in fp32 or fp16: networks traced, described, self-tested and written."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from echoexport.calibration.lint.graph_lint import require_clean
from echoexport.export.build.checks import check_bundle
from echoexport.export.build.fp16_graphs import NOT_SETTLED
from echoexport.export.build.settings import BuildSettings
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.graphs.count_work import count_work
from echoexport.export.graphs.self_test_inputs import make_inputs
from echoexport.export.graphs.traces import find_trace
from echoexport.export.graphs.weights import WrittenWeights, write_weights
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.contract.families.echomimic_v1 import NETWORKS
from echoexport.runtime.contract.manifest import FileEntry, Manifest, NetworkEntry, write_manifest
from echoexport.runtime.contract.spec import PRECISIONS, SubnetSpec
from echoexport.runtime.errors import GraphError
from echoexport.runtime.progress import Progress, Tell
from echoexport.targets.spec import TargetSpec

_STAGES = ("trace", "weights", "self-test")


@dataclass(frozen=True)
class BuiltNetwork:
    """What building one network left in the folder."""

    entry: NetworkEntry
    weights: WrittenWeights
    cached: bool


def _check_and_write(
    manifest: Manifest,
    folder: Path,
    *,
    target: TargetSpec,
    settings: BuildSettings,
    report: Progress,
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
        advance: Tell,
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
    plans: list[_NetworkPlan], folder: Path, *, report: Progress
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
