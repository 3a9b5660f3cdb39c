"""What is known of the machine at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Device:
    """This machine; None for what it does not say."""

    kind: str
    """One of "jetson", "gpu" or "cpu"."""
    model: str | None
    """Of the board, or the processor."""
    target: str | None
    """The name of our target that it is."""
    jetpack: str | None
    l4t: str | None
    """Jetson Linux's release, as 36.4.3."""
    power_mode: str | None
    """The name in nvpmodel's table, on boards that have one."""
    tensorrt: str | None
    """The version that Python imports, or of the library that lies there without
    Python's part."""
    cuda: str | None
    compute_capability: str | None
    gpu: str | None
    """Its name."""
    driver: str | None
    memory: int | None
    memory_available: int | None
    """memory and memory_available: bytes where engines live, which is the GPU's own
    memory if it has one, and the machine's otherwise."""
    host_memory: int | None
    host_memory_available: int | None
    """host_memory and host_memory_available: the machine's."""
    power_limit: float | None
    """The GPU's, watts."""
    cores: int | None
    os: str | None
    arch: str | None
    python: str
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Field to the file, package or command that it was read from."""
    notes: tuple[str, ...] = ()
    """What else there is to know, in words."""
