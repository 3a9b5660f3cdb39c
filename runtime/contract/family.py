"""What a family of models is made of: its networks, and what may drive the faces it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from echoexport.runtime.errors import UnknownNameError


@dataclass(frozen=True)
class Drive:
    """One way to say where a face is and how it moves, as maps that a network encodes."""

    name: str
    """As a manifest's ``face`` has it, e.g. "mask"."""
    network: str
    """The network that turns a map into a face feature."""
    channels: int
    """Of a map."""
    every_frame: bool
    """Whether each frame has a map of its own; else one stands for the whole clip."""


@dataclass(frozen=True)
class Family:
    """Models that are built and run alike.

    A network's name is its role, the same in every family.
    """

    name: str
    """Lower-case words joined by hyphens; the file that states the family has underscores."""
    networks: tuple[str, ...]
    """Every network that a bundle may hold, in the order in which they are built and shown."""
    drives: tuple[Drive, ...]
    """What its variants take; each takes one."""
    optional: frozenset[str] = frozenset()
    """Networks that a bundle may lack."""
    shares: Mapping[str, str] = field(default_factory=dict)
    """Networks that read the weights of another, and whose."""

    @property
    def required(self) -> tuple[str, ...]:
        """Networks that every bundle holds."""
        return tuple(name for name in self.networks if name not in self.optional)

    def owner_of(self, name: str) -> str:
        """The network whose weights a network reads: its own, where it shares none."""
        return self.shares.get(name, name)

    def find_drive(self, name: str) -> Drive:
        """The drive called ``name``.

        Raises:
            UnknownNameError: the family takes none of that name.
        """
        for drive in self.drives:
            if drive.name == name:
                return drive
        raise UnknownNameError("drive", name, known=[drive.name for drive in self.drives])
