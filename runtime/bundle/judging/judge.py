"""Whether an engine may open a graph: it must be one that a build of ours could have written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from echoexport.runtime.bundle.judging.constants import Constants
from echoexport.runtime.bundle.judging.graph_file import (
    Described,
    GraphFile,
    Node,
    Sides,
    read_graph_file,
)
from echoexport.runtime.bundle.judging.parameters import ELEMENTS, MOST_SIDES, collect_tensors
from echoexport.runtime.bundle.judging.shapes import find_shapes
from echoexport.runtime.bundle.judging.wire import ObjectionError
from echoexport.runtime.contract.operators import (
    MICROSOFT,
    NEWEST_OPSET,
    OLDEST_OPSET,
    OWN_OPERATORS,
    PLAIN_OPERATORS,
    OperatorForm,
)
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import BundleError

__all__ = ["JUDGEMENT", "LARGEST_GRAPH", "MOST_NODES", "judge_graph", "judge_optimized_graph"]

JUDGEMENT = "judged-1"
"""Another one with each change that refuses what was let pass: compiled models in caches
are kept under it, and opened again without a look at their graphs."""

LARGEST_GRAPH = 1 << 28
"""Bytes of a graph without its weights."""

MOST_NODES = 16384
"""The largest UNet of the official sizes has 3,600."""

_OLDEST_FORMAT = 8
_NEWEST_FORMAT = 13

# ONNX Runtime's own domains and what it never needs for a graph of ours: control flow,
# and an engine in a file of its own.
_OPTIMIZED_DOMAINS = frozenset({"", MICROSOFT, f"{MICROSOFT}.nchwc"})
_NEVER_NEEDED = frozenset({"EPContext", "If", "Loop", "Scan", "SequenceMap"})


def judge_graph(
    data: bytes,
    spec: SubnetSpec,
    *,
    path: Path,
    weights_name: str,
    weights_bytes: int,
    own: str = "",
) -> None:
    """Refuse a graph that no build of ours could have written; say nothing of any other.

    ``data`` are the bytes of ``path`` that an engine will open, ``weights_name`` the
    one file beside it that it may read from, ``weights_bytes`` that file's size.
    ``own`` names the backend whose own operators it may use. Nothing is opened here.

    Raises:
        BundleError: what speaks against it, in one line.
    """
    with _naming(path):
        content = _take(data, weights_name)
        graph = read_graph_file(content)
        _check_versions(graph)
        _check_operators(graph, _list_forms(own))
        tensors = collect_tensors(graph, weights_name, weights_bytes)
        _check_interface(graph, spec)
        known = {tensor.name: tensor.dims for tensor in tensors.values()}
        _add_inputs(known, graph)
        shapes = find_shapes(graph, Constants(content, tensors), known=known)
        _check_described(graph, shapes)


def judge_optimized_graph(
    data: bytes, spec: SubnetSpec, *, path: Path, weights_name: str, weights_bytes: int
) -> None:
    """The same for a graph that ONNX Runtime wrote, in operators of that library's choice.

    What they give is not known here: structure, constants and interface are judged.

    Raises:
        BundleError: what speaks against it, in one line.
    """
    with _naming(path):
        graph = read_graph_file(_take(data, weights_name))
        _check_count(graph)
        for node in graph.nodes:
            if node.domain not in _OPTIMIZED_DOMAINS or node.operator in _NEVER_NEEDED:
                raise _refuse_operator(node)
        collect_tensors(graph, weights_name, weights_bytes)
        _check_interface(graph, spec)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What speaks against a graph becomes a line with the file's name."""
    try:
        yield
    except ObjectionError as error:
        raise BundleError(
            f"{path}: {error}; no engine is given such a graph: build the bundle again, or copy "
            "it again from where it was built"
        ) from error


def _take(data: bytes, weights_name: str) -> bytes:
    if len(data) > LARGEST_GRAPH:
        raise ObjectionError(f"it takes {len(data)} bytes; weights belong in {weights_name}")
    return bytes(data)


def _check_versions(graph: GraphFile) -> None:
    if not _OLDEST_FORMAT <= graph.format <= _NEWEST_FORMAT:
        raise ObjectionError(f"its format is version {graph.format} of ONNX's")
    for domain, version in graph.opsets.items():
        if domain not in ("", MICROSOFT):
            raise ObjectionError(f"it wants operators of {domain!r}")
        if domain == MICROSOFT and version != 1:
            raise ObjectionError(f"it wants version {version} of {domain}'s operators")
    found = graph.opsets.get("", 0)
    if not OLDEST_OPSET <= found <= NEWEST_OPSET:
        raise ObjectionError(
            f"its operators are of opset {found}; this release opens {OLDEST_OPSET} to "
            f"{NEWEST_OPSET}"
        )


def _list_forms(own: str) -> dict[tuple[str, str], OperatorForm]:
    forms = {("", name): form for name, form in PLAIN_OPERATORS.items()}
    for domain, operators in OWN_OPERATORS.get(own, {}).items():
        forms |= {(domain, name): form for name, form in operators.items()}
    return forms


def _check_operators(graph: GraphFile, forms: Mapping[tuple[str, str], OperatorForm]) -> None:
    _check_count(graph)
    for node in graph.nodes:
        form = forms.get((node.domain, node.operator))
        if form is None or node.domain not in graph.opsets:
            raise _refuse_operator(node)
        if not form.least <= len(node.inputs) <= form.most:
            raise _object_to(node, f"has {len(node.inputs)} inputs")
        if not 1 <= len(node.outputs) <= form.outputs or not node.outputs[0]:
            raise _object_to(node, f"has {len(node.outputs)} outputs")
        if "" in node.inputs[: form.least]:
            raise _object_to(node, "lacks an input")
        if not node.attributes.keys() <= form.attributes:
            unknown = min(node.attributes.keys() - form.attributes)
            raise _object_to(node, f"has an attribute {unknown[:80]!r}")


def _check_count(graph: GraphFile) -> None:
    if not 1 <= len(graph.nodes) <= MOST_NODES:
        raise ObjectionError(f"it has {len(graph.nodes)} nodes")


def _refuse_operator(node: Node) -> ObjectionError:
    operator = f"{node.domain}.{node.operator}" if node.domain else node.operator
    return ObjectionError(
        f"node {node.name[:80]!r} is of operator {operator[:80]!r}, which none of ours has"
    )


def _object_to(node: Node, what: str) -> ObjectionError:
    return ObjectionError(f"node {node.name[:80]!r} ({node.operator}) {what}")


def _check_interface(graph: GraphFile, spec: SubnetSpec) -> None:
    _compare("input", graph.inputs, spec.inputs)
    _compare("output", graph.outputs, spec.outputs)


def _compare(side: str, found: list[Described], wanted: Iterable[TensorSpec]) -> None:
    there = {value.name: (ELEMENTS.get(value.element, ("?",))[0], value.dims) for value in found}
    needed = {tensor.name: (tensor.dtype, tensor.shape) for tensor in wanted}
    for name in sorted(needed.keys() | there.keys()):
        if there.get(name) != needed.get(name):
            raise ObjectionError(
                f"its {side} {name[:80]!r} is {_tell(there.get(name))}, the manifest says "
                f"{_tell(needed.get(name))}"
            )
    if len(there) != len(found):
        raise ObjectionError(f"two of its {side}s have one name")


def _tell(tensor: tuple[str, Sides] | None) -> str:
    if tensor is None:
        return "not there"
    return f"{tensor[0]} of {'x'.join(map(str, tensor[1][:MOST_SIDES])) or '1'}"


def _add_inputs(known: dict[str, Sides], graph: GraphFile) -> None:
    for value in graph.inputs:
        if value.name in known:
            raise ObjectionError(f"{value.name!r} is an input and a constant")
        known[value.name] = value.dims


def _check_described(graph: GraphFile, shapes: Mapping[str, Sides]) -> None:
    """What the graph says of its values is what its operators give."""
    made = {name for node in graph.nodes for name in node.outputs}
    for value in graph.outputs:
        if value.name not in made:
            raise ObjectionError(f"no node gives its output {value.name!r}")
    for value in (*graph.values, *graph.outputs):
        found = shapes.get(value.name)
        if found is not None and found != value.dims:
            raise ObjectionError(
                f"it says that {value.name[:80]!r} has the sides {list(value.dims)[:MOST_SIDES]}, "
                f"its nodes give {list(found)}"
            )
