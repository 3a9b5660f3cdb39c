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
    Machine,
    Package,
    RunCommand,
    package_version,
    run_program,
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
    run: RunCommand = run_program,
    *,
    package: Package = package_version,
    environment: Mapping[str, str] | None = None,
) -> Device:
    """What this machine is. Never raises: what cannot be read is None, and has no source.

    Its files lie below ``root``; another machine's files want another ``run``,
    ``package`` and ``environment`` too.
    """
    machine = Machine(root, run, package, os.environ if environment is None else environment)
    board = read_board(machine)
    gpu = read_gpu(machine)
    device = _assemble(
        "jetson" if board else "gpu" if gpu else "cpu",
        _read_all(machine, board, gpu=gpu),
        sizes=_measure(machine, board, gpu=gpu),
        gpu=gpu,
        notes=_note(machine, board, gpu=gpu),
    )
    if device.target is not None or device.kind == "jetson":
        return device
    target = match_target(device)
    return _with_target(device, target) if target else device


def _read_all(machine: Machine, board: Board | None, *, gpu: Gpu | None) -> dict[str, Found | None]:
    """What is said in words, by the record's fields."""
    found: dict[str, Found | None] = {
        "tensorrt": _read_tensorrt(machine),
        "cuda": _read_cuda(machine) or (read_highest_cuda(machine) if gpu else None),
        "os": _read_system(machine),
        "arch": _read_arch(machine),
    }
    if board is not None:
        return found | _of_board(board, gpu)
    found["model"] = _read_processor(machine)
    if gpu is not None:
        found |= {
            "gpu": gpu.name,
            "driver": gpu.driver,
            "compute_capability": gpu.compute_capability,
        }
    return found


def _measure(
    machine: Machine, board: Board | None, *, gpu: Gpu | None
) -> dict[str, tuple[int | None, str]]:
    """Bytes and cores with their sources; a board's GPU has the machine's own memory."""
    total, available = machine.memory()
    host = {"memory": (total, "/proc/meminfo"), "memory_available": (available, "/proc/meminfo")}
    sizes = {f"host_{name}": size for name, size in host.items()}
    sizes["cores"] = (_count_cores(machine), "/sys/devices/system/cpu/online")
    if board is None and gpu is not None:
        return sizes | {
            "memory": (gpu.memory, gpu.source),
            "memory_available": (gpu.memory_available, gpu.source),
        }
    return sizes | host


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
    *,
    sizes: Mapping[str, tuple[int | None, str]],
    gpu: Gpu | None,
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


def _note(machine: Machine, board: Board | None, *, gpu: Gpu | None) -> tuple[str, ...]:
    if board is not None:
        return board.notes
    if gpu is not None:
        return gpu.notes
    if hides_all(machine.environment):
        return ("CUDA_VISIBLE_DEVICES hides every GPU from CUDA",)
    chosen = machine.environment.get("CUDA_VISIBLE_DEVICES")
    return (f"CUDA_VISIBLE_DEVICES={chosen} names no GPU of this machine",) if chosen else ()


def _read_tensorrt(machine: Machine) -> Found | None:
    """What Python would import.

    The Debian package's longer number where it is the same version's.
    """
    library = machine.debian(*_TENSORRT_LIBRARIES)
    for name in _TENSORRT_PACKAGES:
        if version := machine.package(name):
            same = library is not None and library.value.startswith(f"{version}.")
            return library if same else Found(version, f"Python package {name}")
    return library


def _read_cuda(machine: Machine) -> Found | None:
    file = "/usr/local/cuda/version.json"
    try:
        version = json.loads(machine.read(file) or "")["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        return None
    return Found(version, file) if isinstance(version, str) else None


def _read_system(machine: Machine) -> Found | None:
    for file in ("/etc/os-release", "/usr/lib/os-release"):
        if name := re.search(r'^PRETTY_NAME="?([^"\n]+)"?', machine.read(file) or "", re.MULTILINE):
            return Found(name[1], file)
    return Found(platform.system(), "Python") if machine.root == Path("/") else None


def _read_arch(machine: Machine) -> Found | None:
    answer = (machine.run(("uname", "-m")) or "").strip()
    if answer:
        return Found(answer, "uname -m")
    return Found(platform.machine(), "Python") if machine.root == Path("/") else None


def _read_processor(machine: Machine) -> Found | None:
    name = re.search(
        r"^model name\s*:\s*(.+?)\s*$", machine.read("/proc/cpuinfo") or "", re.MULTILINE
    )
    return Found(name[1], "/proc/cpuinfo") if name else None


def _count_cores(machine: Machine) -> int | None:
    """Cores that are switched on, from Linux's list of ranges, as "0-5,7".

    A power mode may switch some off.
    """
    ranges = re.findall(r"(\d+)(?:-(\d+))?", machine.read("/sys/devices/system/cpu/online") or "")
    return sum(int(last or first) - int(first) + 1 for first, last in ranges) or None
