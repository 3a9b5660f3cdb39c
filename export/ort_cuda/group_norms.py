"""Group norms as the export writes them, found, with the SiLU behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoexport.export.graphs.edited_graph import EditedGraph, Shape, attribute

if TYPE_CHECKING:
    import onnx

GROUPS = 32
"""Groups of the published networks' norms; ONNX Runtime's kernel takes at most so many."""

LARGEST_BATCH = 32
"""Pictures that ONNX Runtime's group norm takes at once at most."""


@dataclass(frozen=True)
class GroupNorm:
    """A group norm of a map."""

    source: str
    """The map."""
    gain: str
    """A vector over channels."""
    shift: str
    """A vector over channels."""
    groups: int
    """Of channels."""
    epsilon: float
    """Added to the variance."""
    output: str
    """The value that the norm gives."""
    silu: bool
    """Whether its value is only used through SiLU, which ``output`` then is."""


def find_norms(graph: EditedGraph) -> list[GroupNorm]:
    """Group norms of four-axis maps, as the export writes them.

    A view by groups, their norm, the view back, gain and shift; and SiLU behind it
    where nothing else reads it.
    """
    found = (
        _match_norm(graph, node) for node in graph.nodes if node.op_type == "InstanceNormalization"
    )
    return [norm for norm in found if norm is not None]


def _match_norm(graph: EditedGraph, node: onnx.NodeProto) -> GroupNorm | None:
    grouped = graph.maker(node.input[0], "Reshape")
    back = graph.only_reader(node.output[0], "Reshape")
    groups = _count_groups(graph, node)
    if grouped is None or back is None or groups is None:
        return None
    source = grouped.input[0]
    shape = graph.shapes[source]
    same = graph.shapes[back.output[0]] == shape and graph.shapes[grouped.output[0]][0] == shape[0]
    if not same or not _has_kernel(shape, groups):
        return None
    scaled = graph.only_reader(back.output[0], "Mul")
    shifted = None if scaled is None else graph.only_reader(scaled.output[0], "Add")
    if scaled is None or shifted is None:
        return None
    gain, shift = (_vector(graph, one.input[1], shape[1]) for one in (scaled, shifted))
    if gain is None or shift is None:
        return None
    epsilon = attribute(node, "epsilon", 1e-5)
    gated = _find_silu(graph, shifted.output[0])
    output = shifted.output[0] if gated is None else gated
    return GroupNorm(source, gain, shift, groups, epsilon, output, silu=gated is not None)


def _count_groups(graph: EditedGraph, node: onnx.NodeProto) -> int | None:
    """Groups of a norm that neither scales nor shifts by itself."""
    ones = graph.read(node.input[1])
    zeros = graph.read(node.input[2])
    if ones is None or zeros is None or (ones != 1).any() or zeros.any():
        return None
    return len(ones)


def _has_kernel(shape: Shape, groups: int) -> bool:
    fits = len(shape) == 4 and shape[0] <= LARGEST_BATCH and groups <= GROUPS
    return fits and shape[1] % (2 * groups) == 0  # the kernel reads channels by twos


def _find_silu(graph: EditedGraph, output: str) -> str | None:
    """The value of SiLU of ``output``, where nothing else reads that."""
    readers = graph.readers.get(output, [])
    kinds = sorted(reader.op_type for reader in readers)
    if kinds != ["Mul", "Sigmoid"] or output in graph.outputs:
        return None
    gate = next(reader for reader in readers if reader.op_type == "Sigmoid").output[0]
    product = graph.only_reader(gate, "Mul")
    if product is None or set(product.input) != {output, gate}:
        return None
    return str(product.output[0])


def find_inside(graph: EditedGraph, norms: dict[str, GroupNorm]) -> set[str]:
    """Values between a norm's source and its output."""
    inside: set[str] = set()
    for norm in norms.values():  # a view of a gain may have other readers too, and then stays
        waiting = list(graph.makers[norm.output].input)
        while waiting:
            name = waiting.pop()
            if name != norm.source and name in graph.makers and name not in inside:
                inside.add(name)
                waiting.extend(graph.makers[name].input)
    gone = {*inside, *norms}
    return {
        name
        for name in inside
        if name not in graph.outputs
        and all(reader.output[0] in gone for reader in graph.readers[name])
    }


def _vector(graph: EditedGraph, name: str, channels: int) -> str | None:
    """The vector (channels) behind its view (channels, 1, 1)."""
    view = graph.maker(name, "Reshape")
    if view is None or graph.shapes[name] != (channels, 1, 1):
        return None
    source = view.input[0]
    return source if len(graph.shapes[source]) == 1 and graph.is_constant(source) else None
