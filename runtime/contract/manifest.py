"""``manifest.json``: all that a bundle says of itself, and the only thing the runtime trusts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from echoexport.runtime.contract.checksum import CHECKSUM, compute_checksum, require_checksum
from echoexport.runtime.contract.compiled import CompiledEngines
from echoexport.runtime.contract.families import find_family
from echoexport.runtime.contract.family import Drive, Family
from echoexport.runtime.contract.network_work import NetworkWork
from echoexport.runtime.contract.number_rules import find_broken_rule
from echoexport.runtime.contract.schema import dump, find_large_number, parse
from echoexport.runtime.contract.settings import (
    AudioSettings,
    PictureSettings,
    SamplerSettings,
    WindowSettings,
)
from echoexport.runtime.contract.signing.approval import require_signed
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME
from echoexport.runtime.contract.signing.trust import find_trust
from echoexport.runtime.contract.spec import (
    ARITHMETIC,
    PRECISIONS,
    STORED,
    TOLERANCES,
    SubnetSpec,
    TensorSpec,
)
from echoexport.runtime.errors import BundleError, SettingError, UnknownNameError
from echoexport.runtime.files.aside import refuse_briefly, replaced_file
from echoexport.runtime.files.json_file import read_json

MANIFEST_NAME = "manifest.json"
BUNDLE_FORMAT = "echoexport-bundle"
MANIFEST_SCHEMA = 1
_LARGEST_NUMBER = 1 << 53
FIRST_FAMILY = "echomimic-v1"
"""The family of bundles that are older than the manifest's ``family``."""


@dataclass(frozen=True)
class FileEntry:
    """What a file must be."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class NetworkEntry:
    """One network: its graph and weights, what goes in and out, and arrays to prove itself with."""

    graph: str
    """The file of its plain operators, for every backend."""
    weights: str
    """The file beside it."""
    self_test: str
    """An ``.npz`` with ``input.NAME`` in the network's dtype and ``output.NAME`` in
    float32, the outputs computed by the torch module in fp32."""
    precision: str
    """What it is stored in, "fp32", "fp16" or "int8" (tensors in and out are then
    float32 or float16)."""
    opset: int
    """The ONNX operator set of its graph."""
    parameters: int
    """How many values the weights hold."""
    inputs: tuple[TensorSpec, ...]
    """In the graph's order."""
    outputs: tuple[TensorSpec, ...]
    """In the graph's order."""
    tolerances: Mapping[str, float]
    """Per precision, relative to each output's largest value."""
    compute: str = "fp32"
    """What the engine was chosen to compute in where the graph leaves it the choice,
    "fp32" or "bf16"; an engine without it computes in fp32."""
    work: NetworkWork | None = None
    """Of one call, None in bundles that were built before it was counted."""
    int8_parameters: int = 0
    """How many of the values are stored in int8."""
    graphs: Mapping[str, str] = field(default_factory=dict)
    """By backend, the same network as this backend runs it quickest, with the same weights."""

    @property
    def files(self) -> tuple[str, ...]:
        """All of the network's files but its engine's."""
        return (self.graph, self.weights, self.self_test, *self.graphs.values())

    def graph_for(self, backend: str) -> str:
        """The file that a backend is given: its own, where there is one."""
        return self.graphs.get(backend, self.graph)

    def describe(self, name: str) -> SubnetSpec:
        """The contract of this network under its name."""
        return SubnetSpec(name, self.inputs, self.outputs, self.tolerances, self.precision)


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from."""

    created: str
    """When it was built, UTC, ISO 8601."""
    checkpoint: str
    """The checkpoint's name."""
    checkpoint_files: Mapping[str, FileEntry]
    """The checkpoint's files by name."""
    tools: Mapping[str, str]
    """Versions by name of what built it."""
    settings: Mapping[str, Any]
    """The build's."""
    notes: tuple[str, ...]
    """What else there is to know, in words."""


@dataclass(frozen=True)
class QuantizationSummary:
    """How layers came to be int8."""

    plan: str
    """The file that says so layer by layer."""
    method: str
    """How ranges were found."""
    calibration: str
    """Hash of the set they came from."""
    budget_db: float | None
    """Signal to noise in dB, of the sampled latents against fp32, that the result was
    asked to reach; None where nobody asked."""
    reached_db: float | None
    """The same that it did reach; None where nobody measured."""


@dataclass(frozen=True)
class Manifest:
    """The whole of it."""

    format: str
    """What the file is, ``BUNDLE_FORMAT``."""
    schema: int
    """The version of its rules, ``MANIFEST_SCHEMA``."""
    family: str = field(default=FIRST_FAMILY, kw_only=True)
    """The model family, which says what networks there may be and what drives a face."""
    variant: str
    """Of the family."""
    target: str
    """What it was built for."""
    backends: tuple[str, ...]
    """They run it, best first."""
    precision: str
    """What its networks are stored in, as one phrase."""
    fps: float
    """Frames a second, unless told otherwise."""
    face: str
    """The drive that its faces take, by name: "mask" (a still mask), "pose" (a map a
    frame)."""
    picture: PictureSettings
    """Sizes of pictures and latents."""
    window: WindowSettings
    """Which frames are denoised together."""
    sampler: SamplerSettings
    """Defaults of the sampling loop."""
    audio: AudioSettings
    """What the audio encoder wants and gives."""
    networks: Mapping[str, NetworkEntry]
    """By the names that the family gives them."""
    files: Mapping[str, FileEntry]
    """Every file beside the manifest, by its path in the folder."""
    provenance: Provenance
    """Where the bundle comes from."""
    quantization: QuantizationSummary | None = None
    """How layers came to be int8, None where none are."""
    quality: str | None = None
    """The file of the quality report, None where none was made."""
    compiled: CompiledEngines | None = None
    """The engines that a compiled bundle holds in place of graphs and weights; None in
    a portable one."""

    @property
    def drive(self) -> Drive:
        """What drives its faces."""
        return find_family(self.family).find_drive(self.face)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` into a folder that is still being built."""
    (folder / MANIFEST_NAME).write_text(_format(manifest), encoding="utf-8")


def _format(manifest: Manifest) -> str:
    data = dump(manifest)
    data[CHECKSUM] = compute_checksum(data)
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def replace_manifest(manifest: Manifest, folder: Path) -> None:
    """Give a finished bundle another manifest, whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    # beside the bundle, not in it: a file that a crash leaves there would be one that
    # the manifest does not list
    with replaced_file(folder / MANIFEST_NAME, beside=folder, refuse=refuse_briefly) as aside:
        aside.write_text(_format(manifest), encoding="utf-8")


def read_manifest(folder: Path, *, trust: Path | None = None, to_run: bool = True) -> Manifest:
    """Read and check a bundle's manifest, not its files.

    ``trust`` is the trust list that it must satisfy, by default the one that
    ``ECHOEXPORT_TRUST`` names; without any, no signature is looked at. Nor where it is
    not ``to_run``, but to be shown, signed or replaced.

    Raises:
        SignatureError: it is not signed as the trust list wants, or that is damaged.
        BundleError: no manifest, another format or schema version, a check sum that is
            not its own, a key too many or too few, a wrong type, a number that cannot be,
            or a path that leaves the folder.
    """
    path = folder / MANIFEST_NAME
    data = _read_file(path)
    _check_version(path, data)
    try:
        require_checksum(data)
        values = {key: value for key, value in data.items() if key != CHECKSUM}
        manifest = parse(Manifest, values, where="manifest")
    except (ValueError, SettingError) as error:  # the scheduler's settings check themselves
        raise BundleError(f"{path}: {error}") from error
    large = find_large_number(data, limit=_LARGEST_NUMBER)
    if large is not None:
        raise BundleError(f"{path}: {str(large)[:30]} is larger than any number in a manifest")
    _check_numbers(path, manifest)
    _check_tensors(path, manifest)
    family = _find_family(path, manifest)
    _check_names(path, manifest, family=family)
    _check_networks(path, manifest)
    if manifest.compiled is not None:
        _check_engines(path, manifest, manifest.compiled)
    for name in manifest.files:
        _check_inside(path, name)
    if to_run and (trusted := find_trust(trust)) is not None:
        require_signed(path, data, trusted, compiled=manifest.compiled)
    return manifest


def _read_file(path: Path) -> Any:
    try:
        if path.is_symlink() or not path.is_file():
            raise BundleError(
                f"{path}: no such file; {path.parent} is not a bundle (echoexport build makes one)"
            )
        return read_json(path, strict=True)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BundleError(f"{path}: not readable JSON: {error}") from error


def _check_version(path: Path, data: Any) -> None:
    if not isinstance(data, dict) or data.get("format") != BUNDLE_FORMAT:
        raise BundleError(f"{path}: not an {BUNDLE_FORMAT} manifest")
    if data.get("schema") != MANIFEST_SCHEMA:
        raise BundleError(
            f"{path}: schema version {data.get('schema')!r}; this release reads {MANIFEST_SCHEMA}: "
            "build the bundle again, or install the release that wrote it"
        )


def _check_numbers(path: Path, manifest: Manifest) -> None:
    broken = find_broken_rule(
        manifest.picture, manifest.window, manifest.sampler, manifest.audio, fps=manifest.fps
    )
    if broken is not None:
        raise BundleError(f"{path}: it breaks a rule: {broken}")


def _check_tensors(path: Path, manifest: Manifest) -> None:
    """Shapes, dtypes and tolerances of every network."""
    for name, network in manifest.networks.items():
        for tensor in (*network.inputs, *network.outputs):
            if tensor.dtype not in PRECISIONS.values() or min(tensor.shape, default=1) < 1:
                raise BundleError(
                    f"{path}: network {name}: tensor {tensor.name!r} is {tensor.shape} "
                    f"{tensor.dtype}"
                )
        # a bundle without int8 layers may be older than they are
        needed = [each for each in TOLERANCES if each != "int8" or network.precision == "int8"]
        missing = [
            precision for precision in needed if not network.tolerances.get(precision, 0) > 0
        ]
        if missing:
            raise BundleError(
                f"{path}: network {name}: no tolerance above 0 for {', '.join(missing)}"
            )


def _find_family(path: Path, manifest: Manifest) -> Family:
    try:
        return find_family(manifest.family)
    except UnknownNameError as error:
        raise BundleError(f"{path}: {error}") from error


def _check_names(path: Path, manifest: Manifest, *, family: Family) -> None:
    """Networks and drive: what the family has, and no less than it needs."""
    missing = [name for name in family.required if name not in manifest.networks]
    unknown = [name for name in manifest.networks if name not in family.networks]
    if missing or unknown:
        raise BundleError(
            f"{path}: networks: missing {missing or 'none'}, unknown {unknown or 'none'}"
        )
    known = [drive.name for drive in family.drives]
    if manifest.face not in known:
        raise BundleError(f"{path}: face is {manifest.face!r}; known: {', '.join(known)}")


def _check_networks(path: Path, manifest: Manifest) -> None:
    for name, network in manifest.networks.items():
        if network.precision not in STORED:
            raise BundleError(
                f"{path}: network {name}: precision {network.precision!r}; known: "
                f"{', '.join(STORED)}"
            )
        if network.compute not in ARITHMETIC:
            raise BundleError(
                f"{path}: network {name}: compute {network.compute!r}; known: "
                f"{', '.join(ARITHMETIC)}"
            )
        for file in network.files if manifest.compiled is None else (network.self_test,):
            if file not in manifest.files:
                raise BundleError(
                    f"{path}: network {name}: {file!r} is not in the manifest's table of files"
                )
    reports = {
        "quantization": manifest.quantization and manifest.quantization.plan,
        "quality": manifest.quality,
    }
    for what, report in reports.items():
        if report is not None and report not in manifest.files:
            raise BundleError(f"{path}: {what}: {report!r} is not in the manifest's table of files")


def _check_engines(path: Path, manifest: Manifest, compiled: CompiledEngines) -> None:
    if set(compiled.engines) != set(manifest.networks):
        raise BundleError(
            f"{path}: compiled: engines of {', '.join(compiled.engines) or 'nothing'}; wanted: "
            f"those of {', '.join(manifest.networks)}"
        )
    for name, engine in compiled.engines.items():
        missing = [file for file in engine.files if file not in manifest.files]
        if missing or not engine.files:
            raise BundleError(
                f"{path}: compiled: {name}: {missing or 'no file'}: not in the manifest's "
                "table of files"
            )
        if engine.compute not in ARITHMETIC:
            raise BundleError(
                f"{path}: compiled: {name}: compute {engine.compute!r}; known: "
                f"{', '.join(ARITHMETIC)}"
            )
        if engine.tolerance <= 0 or (
            engine.error is not None and not 0 <= engine.error <= engine.tolerance
        ):
            raise BundleError(
                f"{path}: compiled: {name}: error {engine.error} with a tolerance of "
                f"{engine.tolerance}"
            )


def _check_inside(path: Path, name: str) -> None:
    pure = PurePosixPath(name)
    if (
        pure.is_absolute()
        or ".." in pure.parts
        or not pure.parts
        or "\\" in name
        or "\0" in name
        or name in (MANIFEST_NAME, SIGNATURES_NAME)
    ):
        raise BundleError(
            f"{path}: file path {name!r} leaves the bundle or is not a plain relative path; refused"
        )
