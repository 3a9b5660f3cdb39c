"""What a processor's engines depend on: its system, vector instructions, and usable cores."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_TOPOLOGY = Path("/sys/devices/system/cpu")

# Those that CPU libraries choose kernels by; of x86 and, from "asimd" on, of Arm.
_INSTRUCTIONS = (
    "sse4_2",
    "avx",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "sve",
    "sve2",
    "i8mm",
    "bf16",
)


def describe_processor(cpu_info: str | None = None) -> dict[str, str]:
    """``os``, ``arch`` and ``instructions`` for a backend's fingerprint.

    ``cpu_info`` stands in for Linux's ``/proc/cpuinfo``; where the system has none,
    instructions are "unknown".
    """
    own = " ".join(find_instructions(_read_cpu_info() if cpu_info is None else cpu_info))
    return {"os": platform.system(), "arch": platform.machine(), "instructions": own or "unknown"}


def find_instructions(cpu_info: str) -> tuple[str, ...]:
    """Those of the first core that CPU libraries choose kernels by, as Linux names them.

    ``cpu_info`` is what ``/proc/cpuinfo`` says; x86 lists them under ``flags``, Arm under
    ``Features``.
    """
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            found = set(value.split())
            return tuple(name for name in _INSTRUCTIONS if name in found)
    return ()


def count_cores(topology: Path = _TOPOLOGY) -> int:
    """Cores that this process may use; two threads of one core count once.

    Left to count by itself, ONNX Runtime takes all that the machine has, binds a thread
    to each, and writes red lines where a container has fewer.

    ``topology`` stands in for Linux's folder of processors; what it does not tell of
    counts by itself.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    usable = os.sched_getaffinity(0)
    return len({_read_siblings(topology, number) for number in usable})


def _read_siblings(topology: Path, number: int) -> str:
    try:
        path = topology / f"cpu{number}" / "topology" / "thread_siblings_list"
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return str(number)


def _read_cpu_info() -> str:
    try:
        return _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
