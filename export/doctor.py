"""What works on this machine and what is missing for the rest, as one report."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from echoexport.runtime.backends import list_backends, load_backend
from echoexport.runtime.device import Device, detect_device, require_target, usable_memory
from echoexport.runtime.errors import TargetMismatchError
from echoexport.targets.spec import TargetSpec, list_targets, load_target

DOCTOR_SCHEMA = 1
OLDEST_TENSORRT = (10, 3)
# JetPack's major version: the Python that its TensorRT module is built for.
_JETPACK_PYTHONS = {"6": "3.10", "7": "3.12"}
_RTX_MODULES = ("tensorrt_rtx_libs", "tensorrt_rtx_bindings")


@dataclass(frozen=True)
class Check:
    """One backend or tool.

    Detail: version and device where it works, else why it does not, with the fix.
    """

    works: bool
    detail: str


@dataclass(frozen=True)
class Advice:
    """Something that is wrong with the machine, and the one thing that mends it."""

    problem: str
    fix: str


@dataclass(frozen=True)
class Readiness:
    """What can be done here for a target; each reason is None where it can."""

    builds: str | None
    """The portable bundle from a checkpoint."""
    compiles: str | None
    """Engines for the target's default backend."""
    runs: str | None
    """The finished bundle, on ``backend``: the target's own, or the first portable one
    that works here."""
    backend: str
    own: bool
    """Whether it is the target's own."""


@dataclass(frozen=True)
class DoctorReport:
    """Everything that ``echoexport doctor`` says."""

    device: Device
    usable_memory: int | None
    """Bytes that a run may plan with now."""
    advice: tuple[Advice, ...]
    backends: Mapping[str, Check]
    tools: Mapping[str, Check]
    targets: Mapping[str, Readiness]
    schema: int = DOCTOR_SCHEMA


def examine_machine() -> DoctorReport:
    """Look at this machine. Raises nothing of its own: what does not work is in the report."""
    device = detect_device()
    backends = {name: _check_backend(name) for name in list_backends()}
    tools = dict(_check_tools())
    targets = {
        name: find_readiness(load_target(name), device, backends, tools) for name in list_targets()
    }
    return DoctorReport(
        device, usable_memory(device), tuple(advise(device)), backends, tools, targets
    )


def find_readiness(
    spec: TargetSpec, device: Device, backends: Mapping[str, Check], tools: Mapping[str, Check]
) -> Readiness:
    """What can be done for a target on ``device`` with what works there."""
    own = spec.backends.default
    # TensorRT-RTX compiles without the GPU that its backend wants for running.
    compiler = tools["tensorrt-rtx"] if own == "tensorrt_rtx" else backends.get(own)
    shown = "tensorrt-rtx" if own == "tensorrt_rtx" else own
    compiles = None if compiler and compiler.works else f"see {shown} above"
    mismatch = _find_mismatch(device, spec)
    works = [
        name for name in (own, *spec.backends.portable) if name in backends and backends[name].works
    ]
    if mismatch is not None:
        compiles = mismatch
        works = [name for name in works if name != own or spec.kind == "cpu"]
    return Readiness(
        builds=None if tools["export"].works else "see export above",
        compiles=compiles,
        runs=None if works else f"see {own} above",
        backend=works[0] if works else own,
        own=not works or works[0] == own,
    )


def advise(device: Device) -> Iterator[Advice]:
    """What is wrong with a machine as far as its device record and Python's packages tell."""
    if device.kind == "jetson":
        yield from _advise_jetson(device)
    elif device.kind == "cpu" and device.arch == "aarch64":
        yield Advice(
            "no device tree and no /etc/nv_tegra_release can be read",
            "if this is a container on a Jetson, mount both (docs/jetson.md); else nothing",
        )


def _advise_jetson(device: Device) -> Iterator[Advice]:
    wanted = _JETPACK_PYTHONS.get((device.jetpack or "").split(".", maxsplit=1)[0])
    if device.tensorrt is None:
        yield Advice("no TensorRT", "sudo apt install tensorrt python3-libnvinfer")
    elif tuple(int(part) for part in re.findall(r"\d+", device.tensorrt)[:2]) < OLDEST_TENSORRT:
        yield Advice(f"TensorRT {device.tensorrt} is older than 10.3", "flash JetPack 6.1 or newer")
    elif importlib.util.find_spec("tensorrt") is None:
        if wanted and not device.python.startswith(f"{wanted}."):
            problem = (
                f"JetPack {device.jetpack}'s TensorRT is for Python {wanted}, this is "
                f"{device.python}"
            )
            yield Advice(
                problem, "make the environment with /usr/bin/python3 -m venv --system-site-packages"
            )
        else:
            fix = (
                "sudo apt install python3-libnvinfer, in an environment made with "
                "--system-site-packages"
            )
            yield Advice("TensorRT lies here, but this Python does not see its module", fix)
    if device.target is None:
        yield Advice(
            "this board is none of our targets",
            "describe it in a target file of your own (--target FILE.yaml)",
        )
    if _is_installed("onnxruntime-gpu"):
        problem = "onnxruntime-gpu from the registry has no code for this GPU"
        yield Advice(
            problem, "pip uninstall onnxruntime-gpu, then pip install 'echoexport[onnxruntime]'"
        )


def _find_mismatch(device: Device, spec: TargetSpec) -> str | None:
    try:
        require_target(device, spec)
    except TargetMismatchError:
        return f"this machine is {device.target or 'none of our targets'}"
    return None


def _check_backend(name: str) -> Check:
    backend = load_backend(name)
    reason = backend.unavailable()
    return Check(reason is None, reason or backend.describe())


def _check_tools() -> Iterator[tuple[str, Check]]:
    yield (
        "export",
        _make_check(_missing("torch", "onnx", extra="export"), _versions("torch", "onnx")),
    )
    versions = _versions("tensorrt-rtx-cu13-bindings")
    found = f"engines for RTX kiosks without a GPU, parser check; {versions}"
    yield "tensorrt-rtx", _make_check(_missing(*_RTX_MODULES, extra="tensorrt-rtx"), found)
    engines = [n for n in ("openvino", "ai_edge_litert") if importlib.util.find_spec(n)]
    none = (
        "neither openvino nor ai-edge-litert: pip install 'echoexport[openvino]' or "
        "'echoexport[landmarks]'"
    )
    found = f"with --face-model, by {engines[0] if engines else ''}"
    yield "face detection", _make_check(None if engines else none, found)
    yield "video", _make_check(_find_codecs(), f"H.264 and AAC, {_versions('av')}")


def _make_check(reason: str | None, found: str) -> Check:
    return Check(reason is None, reason or found)


def _missing(*modules: str, extra: str = "") -> str | None:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    wanted = f"'echoexport[{extra}]'" if extra else " ".join(absent)
    return f"{', '.join(absent)} not installed: pip install {wanted}" if absent else None


def _is_installed(package: str) -> bool:
    return bool(_versions(package))


def _versions(*packages: str) -> str:
    found = []
    for name in packages:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _find_codecs() -> str | None:
    if absent := _missing("av"):
        return absent
    import av

    lacking = [name for name in ("libx264", "aac") if name not in av.codecs_available]
    return f"this PyAV has no {', '.join(lacking)}; reinstall the 'av' wheel" if lacking else None


def dump_report(report: DoctorReport) -> dict[str, Any]:
    """The report as JSON, its schema number first."""
    return {
        "schema": report.schema,
        **{k: v for k, v in dataclasses.asdict(report).items() if k != "schema"},
    }
