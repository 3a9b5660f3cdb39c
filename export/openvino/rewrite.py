"""A rewrite of parts of a graph: what it requires of them, and what it ensures of what it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoexport.export.graphs.edited_graph import EditedGraph

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Site:
    """A part of a graph that a rewrite can write anew."""

    output: str
    """The value that the part gives, and keeps giving under this name."""
    inputs: tuple[str, ...]
    """The values that go in; all other inputs of the part are weights and constants."""
    form: tuple[int, ...]
    """What its speed depends on: places of one form are chosen for together."""
    label: str
    """The form in words."""


class Rewrite(ABC):
    """One way to write parts of a graph anew.

    It requires static shapes, and of each place what its ``find`` looks for; whatever
    looks otherwise is not found, and stays. It ensures that every value which others
    read keeps its name, shape and type, and its numbers within a precision's rounding;
    weights stay where they are and are laid out anew by operators on constants, which
    the library computes once, when it opens the graph.
    """

    name: str
    """What it makes of a place, for people."""

    @abstractmethod
    def find(self, graph: EditedGraph) -> list[Site]:
        """The places that fulfil what it requires."""

    @abstractmethod
    def list_options(self, place: Site) -> tuple[int, ...]:
        """Numbers that ``apply`` takes for a place, likely ones first."""

    @abstractmethod
    def apply(self, graph: EditedGraph, place: Site, option: int) -> None:
        """Write one place anew; ``graph`` is indexed afterwards."""


def replace_maker(graph: EditedGraph, output: str, nodes: Sequence[onnx.NodeProto]) -> None:
    """Let these nodes, of which the last gives ``output``, stand for the one that gave it.

    What only that one read is read by nobody any more; ``finish`` leaves it out.
    """
    old = graph.makers[output]
    place = next(i for i, node in enumerate(graph.nodes) if node is old)
    graph.nodes[place : place + 1] = nodes
    graph.index()
