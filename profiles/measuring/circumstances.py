"""The circumstances of a figure: machine, versions, engine, precision, shapes, date."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from echoexport.profiles.measuring.figures import format_bytes
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.spec import describe_arithmetic
from echoexport.runtime.engine.processor import find_instructions

LIBRARIES = (
    "echoexport",
    "numpy",
    "openvino",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "cuda-python",
    "torch",
)
"""Distributions whose versions go beside a figure, where they are installed."""

_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO = Path("/proc/meminfo")
_BOARD_MODEL = Path("/proc/device-tree/model")  # a Jetson names itself here


@dataclass(frozen=True)
class MachineRecord:
    """What was measured on; ``None`` for what the system does not say."""

    processor: str
    cores: int
    """Cores that the process may use."""
    memory: int | None
    """Bytes."""
    system: str
    load: float | None
    """Runnable tasks on average in the minute before."""
    instructions: tuple[str, ...] = ()
    """Of the processor, see :func:`~echoexport.runtime.engine.processor.find_instructions`."""

    def describe(self) -> str:
        """All of it in one line."""
        facts = [
            self.processor,
            f"{self.cores} cores",
            " ".join(self.instructions),
            "" if self.memory is None else f"{format_bytes(self.memory)} of memory",
            self.system,
            "" if self.load is None else f"load {self.load:g}",
        ]
        return ", ".join(fact for fact in facts if fact)


@dataclass(frozen=True)
class Circumstances:
    """All that a figure depends on."""

    machine: MachineRecord
    """What was measured on."""
    python: str
    """Its version."""
    libraries: Mapping[str, str]
    """Version of each of ``LIBRARIES`` that is installed."""
    date: str
    """In UTC, to the second."""
    target: str = ""
    """Of the bundle."""
    backend: str = ""
    """The backend's own line on itself."""
    compute: str = ""
    """The engine's arithmetic."""
    precision: str = ""
    """What the bundle stores."""
    threads: int = 0
    """Asked for, 0 where the backend chose."""
    shapes: Mapping[str, tuple[int, ...]] | None = None
    """Shapes of the inputs, by name."""
    clock: str = "perf_counter"
    """Name of the clock."""
    origin: str = "measured"
    """Either "measured" or "modelled"."""


def describe_circumstances() -> Circumstances:
    """This machine, this Python and its libraries, now.

    ``dataclasses.replace`` adds what was run.
    """
    return Circumstances(
        machine=describe_machine(),
        python=platform.python_version(),
        libraries={
            name: version for name in LIBRARIES if (version := _find_version(name)) is not None
        },
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def describe_bundle_circumstances(bundle: Bundle) -> Circumstances:
    """The circumstances now, with a bundle and its backend."""
    return replace(
        describe_circumstances(),
        target=bundle.manifest.target,
        backend=f"{bundle.backend.name}: {bundle.backend.describe()}",
        compute=describe_arithmetic(bundle.arithmetic()),
        precision=bundle.manifest.precision,
        threads=bundle.options.threads,
    )


def describe_network_circumstances(bundle: Bundle, name: str) -> Circumstances:
    """The circumstances now, with one of a bundle's networks; it is opened if it is not yet."""
    network = bundle.network(name)
    manifest = bundle.manifest
    return replace(
        describe_circumstances(),
        target=manifest.target,
        backend=f"{bundle.backend.name}: {bundle.backend.describe()}",
        compute=network.precision,
        precision=manifest.networks[name].precision,
        threads=bundle.options.threads,
        shapes={tensor.name: tensor.shape for tensor in network.spec.inputs},
    )


def describe_machine() -> MachineRecord:
    """This machine, as far as its system tells."""
    cpu_info = _read_text(_CPU_INFO)
    return MachineRecord(
        processor=_first_text(_BOARD_MODEL) or _find_processor(cpu_info),
        cores=_count_cores(),
        memory=_find_memory(_read_text(_MEMORY_INFO)),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        instructions=find_instructions(cpu_info),
    )


def _count_cores() -> int:
    """Cores that this process may use, hardware threads counted.

    A container may have fewer than the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _find_processor(cpu_info: str) -> str:
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _find_memory(memory_info: str) -> int | None:
    """``MemTotal`` in bytes; the kernel's kB are 1024 bytes."""
    for line in memory_info.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == "MemTotal:" and fields[1].isdigit():
            return int(fields[1]) * 1024
    return None


def _first_text(path: Path) -> str:
    return _read_text(path).split("\0")[0].strip()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
