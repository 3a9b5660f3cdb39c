"""The machine as one record, each value with the place that it was read from."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from echoexport.runtime.device.gpu import Gpu, hides_all, read_gpu, read_highest_cuda
from echoexport.runtime.device.jetson import Board, read_board
from echoexport.runtime.device.matching import match_target
from echoexport.runtime.device.reading import (
    Found,
    Package,
    Probe,
    Run,
    package_version,
    run_command,
)
from echoexport.runtime.device.record import Device

_TENSORRT_LIBRARIES = ("libnvinfer11", "libnvinfer10", "libnvinfer8")
_TENSORRT_PACKAGES = (
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-cu12",
    "tensorrt-cu13-bindings",
    "tensorrt-cu12-bindings",
)


def detect_device(
    root: Path = Path("/"),
    run: Run = run_command,
    *,
    package: Package = package_version,
    environment: Mapping[str, str] | None = None,
) -> Device:
    """What this machine is. Never raises: what cannot be read is None, and has no source.

    Its files lie below ``root``; another machine's files want another ``run``,
    ``package`` and ``environment`` too.
    """
    probe = Probe(root, run, package, os.environ if environment is None else environment)
    board = read_board(probe)
    gpu = read_gpu(probe)
    found: dict[str, Found | None] = {
        "tensorrt": _read_tensorrt(probe),
        "cuda": _read_cuda(probe) or (read_highest_cuda(probe) if gpu else None),
        "os": _read_system(probe),
        "arch": _read_arch(probe),
    }
    sizes: dict[str, tuple[int | None, str]] = {}
    if board is not None:
        found |= _of_board(board, gpu)
    elif gpu is not None:
        found |= {
            "gpu": gpu.name,
            "driver": gpu.driver,
            "compute_capability": gpu.compute_capability,
        }
        sizes |= {
            "memory": (gpu.memory, gpu.source),
            "memory_available": (gpu.memory_available, gpu.source),
        }
    if board is None:
        found["model"] = _read_processor(probe)
    total, available = probe.memory()
    for name, size in (("memory", total), ("memory_available", available)):
        sizes.setdefault(name, (size, "/proc/meminfo"))
        sizes[f"host_{name}"] = (size, "/proc/meminfo")
    sizes["cores"] = (_count_cores(probe), "/sys/devices/system/cpu/online")
    kind = "jetson" if board else "gpu" if gpu else "cpu"
    device = _assemble(kind, found, sizes, gpu, notes=_note(probe, board, gpu))
    if device.target is not None or kind == "jetson":
        return device
    target = match_target(device)
    return _with_target(device, target) if target else device


def _of_board(board: Board, gpu: Gpu | None) -> dict[str, Found | None]:
    capability = gpu.compute_capability if gpu else None
    return {
        "model": board.model,
        "target": board.target,
        "jetpack": board.jetpack,
        "l4t": board.l4t,
        "power_mode": board.power_mode,
        "compute_capability": capability or board.compute_capability,
        "gpu": gpu.name if gpu else None,
        "driver": gpu.driver if gpu else None,
    }


def _assemble(
    kind: str,
    found: Mapping[str, Found | None],
    sizes: Mapping[str, tuple[int | None, str]],
    gpu: Gpu | None,
    *,
    notes: tuple[str, ...],
) -> Device:
    values = {name: each.value if each else None for name, each in found.items()}
    numbers = {name: size for name, (size, _) in sizes.items()}
    sources = {name: each.source for name, each in found.items() if each}
    sources |= {name: source for name, (size, source) in sizes.items() if size is not None}
    limit = gpu.power_limit if gpu else None
    if gpu and limit is not None:
        sources["power_limit"] = gpu.source
    return Device(
        kind=kind,
        model=values.get("model"),
        target=values.get("target"),
        jetpack=values.get("jetpack"),
        l4t=values.get("l4t"),
        power_mode=values.get("power_mode"),
        tensorrt=values["tensorrt"],
        cuda=values["cuda"],
        compute_capability=values.get("compute_capability"),
        gpu=values.get("gpu"),
        driver=values.get("driver"),
        memory=numbers["memory"],
        memory_available=numbers["memory_available"],
        host_memory=numbers["host_memory"],
        host_memory_available=numbers["host_memory_available"],
        power_limit=limit,
        cores=numbers["cores"],
        os=values["os"],
        arch=values["arch"],
        python=platform.python_version(),
        sources=dict(sorted(sources.items())),
        notes=notes,
    )


def _with_target(device: Device, target: str) -> Device:
    source = device.sources.get("gpu", "no NVIDIA GPU found")
    return replace(
        device, target=target, sources=dict(sorted({**device.sources, "target": source}.items()))
    )


def _note(probe: Probe, board: Board | None, gpu: Gpu | None) -> tuple[str, ...]:
    if board is not None:
        return board.notes
    if gpu is not None:
        return gpu.notes
    if hides_all(probe.environment):
        return ("CUDA_VISIBLE_DEVICES hides every GPU from CUDA",)
    chosen = probe.environment.get("CUDA_VISIBLE_DEVICES")
    return (f"CUDA_VISIBLE_DEVICES={chosen} names no GPU of this machine",) if chosen else ()


def _read_tensorrt(probe: Probe) -> Found | None:
    """What Python would import.

    The Debian package's longer number where it is the same version's.
    """
    library = probe.debian(*_TENSORRT_LIBRARIES)
    for name in _TENSORRT_PACKAGES:
        if version := probe.package(name):
            same = library is not None and library.value.startswith(f"{version}.")
            return library if same else Found(version, f"Python package {name}")
    return library


def _read_cuda(probe: Probe) -> Found | None:
    file = "/usr/local/cuda/version.json"
    try:
        version = json.loads(probe.read(file) or "")["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        return None
    return Found(version, file) if isinstance(version, str) else None


def _read_system(probe: Probe) -> Found | None:
    for file in ("/etc/os-release", "/usr/lib/os-release"):
        if name := re.search(r'^PRETTY_NAME="?([^"\n]+)"?', probe.read(file) or "", re.MULTILINE):
            return Found(name[1], file)
    return Found(platform.system(), "Python") if probe.root == Path("/") else None


def _read_arch(probe: Probe) -> Found | None:
    answer = (probe.run(("uname", "-m")) or "").strip()
    if answer:
        return Found(answer, "uname -m")
    return Found(platform.machine(), "Python") if probe.root == Path("/") else None


def _read_processor(probe: Probe) -> Found | None:
    name = re.search(
        r"^model name\s*:\s*(.+?)\s*$", probe.read("/proc/cpuinfo") or "", re.MULTILINE
    )
    return Found(name[1], "/proc/cpuinfo") if name else None


def _count_cores(probe: Probe) -> int | None:
    """Cores that are switched on, from Linux's list of ranges, as "0-5,7".

    A power mode may switch some off.
    """
    ranges = re.findall(r"(\d+)(?:-(\d+))?", probe.read("/sys/devices/system/cpu/online") or "")
    return sum(int(last or first) - int(first) + 1 for first, last in ranges) or None
