"""The build: a checkpoint folder in, a bundle folder out, written aside and renamed."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from echoexport.calibration.graph_lint import require_clean
from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.self_test import make_inputs
from echoexport.export.sizes import ROWS_PER_FRAME, size_networks
from echoexport.export.traces import find_trace
from echoexport.export.weights import WrittenWeights, write_weights
from echoexport.runtime.audio_tokens import ROWS_PER_SECOND
from echoexport.runtime.bundle import hash_file
from echoexport.runtime.errors import EchoExportError, GraphError, MissingPackageError, OutputError, SettingError
from echoexport.runtime.manifest import (
    FORMAT,
    SCHEMA,
    AudioSettings,
    FileEntry,
    Manifest,
    NetworkEntry,
    PictureSettings,
    Provenance,
    SamplerSettings,
    WindowSettings,
    write_manifest,
)
from echoexport.runtime.mel import SAMPLE_RATE
from echoexport.runtime.spec import NETWORKS, PRECISIONS, NetworkSizes, SubnetSpec, describe_networks
from echoexport.targets.spec import TargetSpec

FPS = 24.0  # the original's default
OVERLAP = 3  # frames that neighbouring windows share, the original's default; less where the window is short

Report = Callable[[str, int, int], None]
"""Progress: what is being done, how many of how many steps are behind."""

_STAGES = ("trace", "weights", "self-test")


@dataclass(frozen=True)
class BuildSettings:
    """What a build is asked for; None takes the target's default.

    size: (width, height) of the pictures in pixels. frames: length of a window. traces: folder of the trace cache,
    None for none.
    """

    variant: str = "acc"
    size: tuple[int, int] | None = None
    frames: int | None = None
    precision: str | None = None
    steps: int | None = None
    traces: Path | None = None


@dataclass(frozen=True)
class BuiltNetwork:
    """What building one network left in the folder."""

    entry: NetworkEntry
    weights: WrittenWeights
    cached: bool


def build_bundle(
    checkpoint: Path, output: Path, *, target: TargetSpec, settings: BuildSettings, report: Report | None = None
) -> Manifest:
    """Trace the six networks, write their weights, graphs and self-tests, and the manifest.

    ``output`` must not exist, or be a bundle, which is replaced at the end. Interrupted, the build leaves the old
    bundle or none; graphs that were traced are kept in the cache, so the next build goes on from there.

    Raises:
        CheckpointError, SettingError, GraphError: the checkpoint, a setting or a graph that cannot be built.
        OutputError: the output folder cannot be written, is no bundle, or the disk is full.
    """
    report = report or (lambda what, done, total: None)
    require_tools()
    opened = open_checkpoint(checkpoint, settings.variant)
    settings = settle(settings, target=target)
    sizes = size_networks(opened.architecture, size=settings.size or (0, 0), frames=settings.frames or 0,
                          face=opened.variant.face)  # fmt: skip
    _check_audio(opened)
    specs = describe_networks(sizes, precision=settings.precision or "")
    plans = [_NetworkPlan(opened, specs[name], settings.traces) for name in NETWORKS]
    with _written_aside(output) as folder, ThreadPoolExecutor(1) as hasher:
        hashes = {path: hasher.submit(_describe_file, path) for path in opened.files()}
        try:
            networks = _build_networks(plans, folder, report=report)
            manifest = _describe_bundle(opened, sizes, networks, target=target, settings=settings)
            manifest = _add_files(manifest, folder, opened, networks=networks, hashes=hashes)
            write_manifest(manifest, folder)
        finally:
            hasher.shutdown(cancel_futures=True)
    return manifest


def require_tools() -> None:
    """Raise ``MissingPackageError`` where the export's libraries are not installed."""
    import importlib.util

    for package in ("torch", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(package, extra="export", purpose="echoexport build")


def settle(settings: BuildSettings, *, target: TargetSpec) -> BuildSettings:
    """The settings with the target's defaults filled in.

    Raises:
        SettingError: a precision that nobody knows.
    """
    precision = settings.precision or target.build.precision
    if precision not in PRECISIONS:
        raise SettingError(f"precision {precision!r}; known: {', '.join(PRECISIONS)}")
    return replace(
        settings,
        precision=precision,
        size=settings.size or target.build.size,
        frames=target.build.frames if settings.frames is None else settings.frames,
        steps=target.build.steps_for(settings.variant) if settings.steps is None else settings.steps,
    )


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
        self, weights: Mapping[str, StoredTensor], folder: Path, *, golden: dict[str, dict[str, np.ndarray]],
        advance: Callable[[str], None],
    ) -> BuiltNetwork:  # fmt: skip
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
            graph=f"{name}.onnx", weights=f"{name}.bin", self_test=f"self-test/{name}.npz",
            precision=_precision_name(self.spec), opset=trace.model.opset_import[0].version,
            parameters=written.parameters, inputs=self.spec.inputs, outputs=self.spec.outputs,
            tolerances=self.spec.tolerances,
        )  # fmt: skip
        return BuiltNetwork(entry, written, trace.cached)

    def _write_self_test(
        self, weights: Mapping[str, StoredTensor], folder: Path, earlier: Mapping[str, dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        from echoexport.export.subnets.golden import compute_golden

        inputs = make_inputs(self.spec, earlier)
        outputs = compute_golden(self.spec, self.checkpoint.architecture, weights=weights, inputs=inputs)
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise GraphError(f"{self.spec.name}: output {name!r} is not finite on the self-test inputs; is the "
                                 "checkpoint trained?")  # fmt: skip
        path = folder / "self-test" / f"{self.spec.name}.npz"
        path.parent.mkdir(exist_ok=True)
        arrays = {**{f"input.{k}": v for k, v in inputs.items()}, **{f"output.{k}": v for k, v in outputs.items()}}
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return outputs


def _build_networks(plans: list[_NetworkPlan], folder: Path, *, report: Report) -> dict[str, BuiltNetwork]:
    """All of them; weights are matched first, so that a bad checkpoint fails before the long work."""
    report("checkpoint: matching keys and shapes", 0, len(plans) * len(_STAGES))
    weights = [plan.resolve_weights() for plan in plans]
    golden: dict[str, dict[str, np.ndarray]] = {}
    built, done = {}, 0

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
    wanted, found = opened.architecture.unet.audio_width, opened.architecture.audio.width
    if wanted != found:
        raise GraphError(
            f"{opened.audio.path}: the audio encoder is {found} wide, the denoiser's attn2.to_k wants {wanted}"
        )


def _describe_bundle(
    opened: Checkpoint, sizes: NetworkSizes, networks: Mapping[str, BuiltNetwork], *, target: TargetSpec,
    settings: BuildSettings,
) -> Manifest:  # fmt: skip
    variant, audio = opened.variant, opened.architecture.audio
    picture = PictureSettings(
        sizes.width, sizes.height, sizes.picture_channels, sizes.latent_channels, opened.architecture.vae.downscale
    )
    return Manifest(
        format=FORMAT,
        schema=SCHEMA,
        variant=variant.name,
        target=target.name,
        backends=_runnable_backends(target),
        precision=settings.precision or "",
        fps=FPS,
        face=variant.face,
        picture=picture,
        window=WindowSettings(sizes.frames, min(OVERLAP, sizes.frames - 1), variant.window_shift),
        sampler=SamplerSettings(
            settings.steps or variant.steps, float(variant.guidance), variant.noise_clamp, opened.settings.scheduler
        ),
        audio=AudioSettings(
            SAMPLE_RATE, audio.mels, audio.context, audio.layers + 1, audio.width, ROWS_PER_SECOND, ROWS_PER_FRAME
        ),
        networks={name: built.entry for name, built in networks.items()},
        files={},
        provenance=Provenance(
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            checkpoint=opened.folder.resolve().name,
            checkpoint_files={},
            tools=_tool_versions(),
            settings={**asdict(settings), "traces": None, "size": list(settings.size or ())},
            notes=_notes(opened),
        ),
    )


def _runnable_backends(target: TargetSpec) -> tuple[str, ...]:
    """The target's own backend first where this release has it, then the portable ones."""
    from echoexport.runtime.backends import list_backends

    wanted = (target.backends.default, *target.backends.portable)
    return tuple(dict.fromkeys(name for name in wanted if name in list_backends()))


def _notes(opened: Checkpoint) -> tuple[str, ...]:
    from echoexport.export.subnets.networks import build_network, wanted_shapes

    wanted = wanted_shapes(build_network("denoising_unet", opened.architecture))
    return tuple(
        f"{path.name}: {len(keys)} keys that the network lacks were ignored, the first: {keys[0]}"
        for path, keys in opened.ignored_keys(wanted).items()
    )


def _tool_versions() -> dict[str, str]:
    names = ("echoexport", "torch", "onnx", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def _describe_file(path: Path) -> FileEntry:
    return FileEntry(hash_file(path), path.stat().st_size)


def _add_files(
    manifest: Manifest, folder: Path, opened: Checkpoint, *, networks: Mapping[str, BuiltNetwork],
    hashes: Mapping[Path, Future[FileEntry]],
) -> Manifest:  # fmt: skip
    files = {}
    for built in networks.values():
        files[built.entry.weights] = built.weights.file  # hashed as it was written
        for name in (built.entry.graph, built.entry.self_test):
            files[name] = _describe_file(folder / name)
    sources = {path.relative_to(opened.folder).as_posix(): future.result() for path, future in hashes.items()}
    return replace(manifest, files=files, provenance=replace(manifest.provenance, checkpoint_files=sources))


@contextmanager
def _written_aside(output: Path) -> Iterator[Path]:
    """A hidden folder beside ``output`` that takes its place at the end, or is removed."""
    _check_output(output)
    aside = output.parent / f".{output.name}.part-{os.getpid()}"
    try:
        aside.mkdir(parents=True)
        yield aside
        old = output.parent / f".{output.name}.old-{os.getpid()}"
        if output.exists():
            output.rename(old)
        aside.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot write the bundle: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_output(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()) and not (output / "manifest.json").is_file():
        raise OutputError(f"{output}: a folder with other things in it; name a new folder or an old bundle")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; name a folder")


__all__ = ["BuildSettings", "EchoExportError", "build_bundle"]
