"""What is known of the machine at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Device:
    """This machine; None for what it does not say."""

    kind: str
    """"jetson", "gpu" or "cpu"."""
    model: str | None
    """Of the board, or the processor."""
    target: str | None
    """The name of our target that it is."""
    jetpack: str | None
    """Its release, as 6.2.1."""
    l4t: str | None
    """Jetson Linux's release, as 36.4.3."""
    power_mode: str | None
    """The name in nvpmodel's table, on boards that have one."""
    tensorrt: str | None
    """The version that Python imports, or of the library that lies there without
    Python's part."""
    cuda: str | None
    """The toolkit's version, or else the newest that the driver runs."""
    compute_capability: str | None
    """The GPU's, as "8.7"."""
    gpu: str | None
    """Its name."""
    driver: str | None
    """Version of NVIDIA's driver."""
    memory: int | None
    """Bytes where engines live: the GPU's own memory if it has one, and the machine's
    otherwise."""
    memory_available: int | None
    """How many of them a new process may have."""
    host_memory: int | None
    """Bytes of the machine's memory."""
    host_memory_available: int | None
    """How many of them a new process may have."""
    power_limit: float | None
    """The GPU's, watts."""
    cores: int | None
    """Processor cores that are switched on."""
    os: str | None
    """Name and version of the operating system."""
    arch: str | None
    """As ``uname -m`` says it."""
    python: str
    """Version of the interpreter."""
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Field to the file, package or command that it was read from."""
    notes: tuple[str, ...] = ()
    """What else there is to know, in words."""
