"""Memory for compiling an engine.

What a network is expected to need, what is free, and the message where it is not.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from echoexport.runtime.device import detect_device
from echoexport.runtime.errors import BackendError

MEMORY_FACTOR = 3.7
"""Peak memory of a build over the weights' bytes: 9.3 GB for the full fp16 denoiser's
2.6 GB, measured with TensorRT-RTX on x86; stacks of convolutions need 3.0, in fp16 and
in int8 alike. Taken for TensorRT too, where it was not measured."""

WAYS_OUT = "close programs, add swap, or lower --workspace"


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that a build is expected to need.

    Bytes that were free before it, None where the system does not tell.
    """

    needed: int
    free: int | None

    def describe(self) -> str:
        """Both figures and what to do."""
        free = "" if self.free is None else f", {self.free / 1e9:.1f} GB of memory and swap free"
        return f"{self.needed / 1e9:.1f} GB were needed by estimate{free}; {WAYS_OUT}"


def estimate_memory(weight_bytes: int, workspace: int | None = None) -> int:
    """Bytes that a build is expected to need at its peak.

    ``workspace`` where the GPU shares the memory.
    """
    return int(MEMORY_FACTOR * weight_bytes) + 500_000_000 + (workspace or 0)


def find_need(graph: Path, *, workspace: int | None) -> MemoryNeed:
    """What compiling a graph needs, by the size of the weights beside it, and what is free now.

    The workspace counts only on a Jetson, whose GPU shares the memory.
    """
    sizes = [0]
    for path in (graph, graph.with_suffix(".bin")):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    shared = workspace is not None and detect_device().kind == "jetson"
    return MemoryNeed(
        estimate_memory(sum(sizes), workspace if shared else None), find_free_memory()
    )


def require_memory(graph: Path, need: MemoryNeed) -> None:
    """Raise ``BackendError`` where less is free than a build is expected to need.

    The message has both figures.
    """
    if need.free is not None and need.free < need.needed:
        raise BackendError(f"{graph}: not enough memory to compile it: {need.describe()}")


def find_free_memory(proc: Path = Path("/proc")) -> int | None:
    """Bytes that a program can still get: of memory, and of swap on disks.

    None where the system does not tell.

    From proc(5)'s meminfo and swaps. Swap in compressed memory (zram, which JetPack
    sets up) does not count: weights hardly compress.
    """
    try:
        found = re.search(
            r"^MemAvailable:\s+(\d+) kB",
            (proc / "meminfo").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    except (OSError, ValueError):
        return None
    if found is None:
        return None
    free = int(found[1])
    with suppress(OSError, ValueError):
        for name, size, used in re.findall(
            r"^(\S+)\s+\S+\s+(\d+)\s+(\d+)",
            (proc / "swaps").read_text(encoding="utf-8"),
            re.MULTILINE,
        ):
            free += 0 if "zram" in name else int(size) - int(used)
    return free * 1024  # both are in kB, which here are 1024 bytes
