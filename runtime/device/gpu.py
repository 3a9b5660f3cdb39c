"""Reading an NVIDIA GPU through its driver.

It asks nvidia-smi, and the kernel module where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from echoexport.runtime.device.reading import Found, Machine

SMI = "nvidia-smi"
_FIELDS = ("index", "uuid", "name", "driver_version", "memory.total", "memory.free", "power.limit")
# Unknown to old drivers, which then answer nothing at all.
_NEWER_FIELDS = ("compute_cap", "mig.mode.current")
_MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """The GPU that CUDA would take first; None for what the driver does not say."""

    name: Found | None
    """As nvidia-smi has it, with the profile of a MIG slice."""
    compute_capability: Found | None
    """As "8.9"."""
    driver: Found | None
    """Its version."""
    memory: int | None
    """Bytes in all."""
    memory_available: int | None
    """Bytes that are free."""
    power_limit: float | None
    """Watts."""
    instance: str
    """The profile of a MIG slice, "" for the whole GPU."""
    source: str
    """The tool or file that said the numbers."""
    notes: tuple[str, ...]
    """What else there is to know, in words."""


def read_gpu(machine: Machine) -> Gpu | None:
    """The first GPU that CUDA_VISIBLE_DEVICES leaves visible.

    None where the machine has no GPU or hides all.
    """
    if hides_all(machine.environment):
        return None
    rows = _query(machine)
    if not rows:
        return _read_kernel_module(machine)
    wanted = machine.environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    row = _choose(rows, wanted)
    if row is None:
        return None
    instance = _find_instance(machine, row, wanted)
    name = f"{row['name']} MIG {instance}" if instance and "MIG" not in row["name"] else row["name"]
    memory = _bytes(row["memory.total"])
    free = _bytes(row["memory.free"])
    if instance:  # a slice's profile, as 3g.40gb, is the only figure that is not of the whole GPU
        size = re.search(r"\.(\d+)gb", instance)
        memory = int(size[1]) * 10**9 if size else None
        free = None
    limit = re.match(r"([\d.]+) W", row["power.limit"])
    return Gpu(
        name=Found(name, SMI),
        compute_capability=_found(row.get("compute_cap", ""), r"\d+\.\d+"),
        driver=_found(row["driver_version"], r"\d+(\.\d+)+"),
        memory=memory,
        memory_available=free,
        power_limit=float(limit[1]) if limit else None,
        instance=instance,
        source=SMI,
        notes=_note(rows, row, wanted, instance),
    )


def read_highest_cuda(machine: Machine) -> Found | None:
    """The newest CUDA that the driver runs; not the toolkit's, which need not be installed."""
    version = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)", machine.run((SMI,)) or "")
    return Found(version[1], f"{SMI} (the newest that the driver runs)") if version else None


def hides_all(environment: Mapping[str, str]) -> bool:
    """Whether CUDA_VISIBLE_DEVICES is set so that CUDA sees no GPU: empty, or beginning with -1."""
    given = environment.get("CUDA_VISIBLE_DEVICES")
    return given is not None and given.split(",")[0].strip() in ("", "-1", "NoDevFiles")


def _query(machine: Machine) -> list[dict[str, str]]:
    for fields in (_FIELDS + _NEWER_FIELDS, _FIELDS):
        answer = machine.run((SMI, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"))
        lines = [
            [value.strip() for value in line.split(",")] for line in (answer or "").splitlines()
        ]
        if rows := [
            dict(zip(fields, values, strict=True)) for values in lines if len(values) == len(fields)
        ]:
            return rows
    return []


def _choose(rows: list[dict[str, str]], wanted: str) -> dict[str, str] | None:
    """A row by number or by the beginning of its UUID, as CUDA_VISIBLE_DEVICES has them.

    The first by default.
    """
    if not wanted or wanted.startswith("MIG-"):
        return rows[0]
    return next(
        (row for row in rows if row["index"] == wanted or row["uuid"].startswith(wanted)), None
    )


def _find_instance(machine: Machine, row: Mapping[str, str], wanted: str) -> str:
    """Profile of the MIG slice that CUDA would take, "" where the GPU is whole."""
    if row.get("mig.mode.current") != "Enabled" and not wanted.startswith("MIG-"):
        return ""
    listed = re.findall(
        r"MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-\S+?)\)", machine.run((SMI, "-L")) or ""
    )
    named = [profile for profile, uuid in listed if not wanted.startswith("MIG-") or uuid == wanted]
    return named[0] if named else "slice"


def _found(value: str, pattern: str) -> Found | None:
    return Found(value, SMI) if re.fullmatch(pattern, value) else None


def _bytes(value: str) -> int | None:
    size = re.fullmatch(r"(\d+) MiB", value)
    return int(size[1]) * _MIB if size else None


def _note(
    rows: list[dict[str, str]], row: Mapping[str, str], wanted: str, instance: str
) -> tuple[str, ...]:
    notes = []
    if len(rows) > 1:
        others = ", ".join(sorted({other["name"] for other in rows if other is not row}))
        notes.append(
            f"number {row['index']} of {len(rows)} GPUs (others: {others}); "
            "CUDA_VISIBLE_DEVICES chooses"
        )
    if len({other["name"] for other in rows}) > 1 and not wanted.startswith(("GPU-", "MIG-")):
        notes.append(
            "the GPUs differ, and CUDA counts them fastest first: set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )
    if instance:
        notes.append(f"a slice ({instance}) of a GPU in MIG mode, which is no target of its own")
    return tuple(notes)


def _read_kernel_module(machine: Machine) -> Gpu | None:
    file = "/proc/driver/nvidia/version"
    text = machine.read(file)
    if text is None:
        return None
    version = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    name = None
    for address in machine.list("/proc/driver/nvidia/gpus"):
        information = f"/proc/driver/nvidia/gpus/{address}/information"
        if model := re.search(
            r"^Model:\s*(.+?)\s*$", machine.read(information) or "", re.MULTILINE
        ):
            name = Found(model[1], information)
            break
    return Gpu(
        name=name,
        compute_capability=None,
        driver=Found(version[1], file) if version else None,
        memory=None,
        memory_available=None,
        power_limit=None,
        instance="",
        source=file,
        notes=(
            "nvidia-smi does not answer: install the driver's tools, or let the container "
            "have them (utility)",
        ),
    )
