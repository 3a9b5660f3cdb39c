"""Maps kept channels-last.

CuDNN's tensor cores and ONNX Runtime's norms want them so, and tokens become mere
views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echoexport.export.graphs.edited_graph import EditedGraph, Shape, attribute, volume
from echoexport.export.ort_cuda.group_norms import GroupNorm, find_inside, find_norms
from echoexport.runtime.contract.operators import MICROSOFT

if TYPE_CHECKING:
    import onnx


FLOAT32 = 1  # onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class _Last:
    """Where a value (lead axes, channels, spatial axes) lies with its channels last."""

    storage: str
    spatial: int


def lay_channels_last(graph: EditedGraph) -> None:
    """Rewrite convolutions, group norms and what lies between them for channels-last maps.

    What has no such form gets its map back as it was, by a Transpose.
    """
    _Walk(graph).run()


class _Walk:
    def __init__(self, graph: EditedGraph) -> None:
        self._graph = graph
        self._made: list[onnx.NodeProto] = []
        self._last: dict[str, _Last] = {}
        self._plain: set[str] = set()
        self._sources: dict[str, str] = {}  # of a Reshape that was emitted here
        self._alias: dict[str, str] = {}

    def run(self) -> None:
        norms = {norm.output: norm for norm in find_norms(self._graph)}
        inside = find_inside(self._graph, norms)
        for node in self._graph.nodes:
            if node.output[0] in norms:
                self._emit_norm(norms[node.output[0]])
            elif node.output[0] not in inside:
                self._emit(node)
        for name in self._graph.outputs:
            self._need_plain(name)
        self._graph.nodes = self._made
        self._graph.index()

    def _emit(self, node: onnx.NodeProto) -> None:
        handler = getattr(self, f"_emit_{node.op_type.lower()}", None) if not node.domain else None
        if handler is None or not handler(node):
            self._keep(node)

    def _keep(self, node: onnx.NodeProto) -> None:
        inputs = [self._need_plain(name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        self._made.append(node)

    def _add(
        self, operator: str, inputs: list[str], output: str, shape: Shape, **attributes: Any
    ) -> str:
        self._made.append(self._graph.make(operator, inputs, output, shape, **attributes))
        return output

    def _reshape(self, name: str, shape: Shape, stem: str) -> str:
        """A view; of the first of a chain of views, and none where it is the same."""
        source = self._sources.get(name, name)
        if self._graph.shapes[source] == shape:
            return source
        output = self._graph.fresh(stem)
        self._add("Reshape", [source, self._graph.integers(shape)], output, shape)
        self._sources[output] = source
        return output

    def _need_plain(self, name: str) -> str:
        """The value as the graph has it."""
        name = self._alias.get(name, name)
        last = self._last.get(name)
        if last is None or name in self._plain:
            return name
        shape = self._graph.shapes[name]
        rank = len(shape)
        lead = len(shape) - 1 - last.spatial
        perm = [*range(lead), rank - 1, *range(lead, rank - 1)]
        self._add("Transpose", [last.storage], name, shape, perm=perm)
        self._plain.add(name)
        return name

    def _need_last(self, name: str, spatial: int) -> str:
        """The value channels-last, with so many spatial axes."""
        name = self._alias.get(name, name)
        known = self._last.get(name)
        if known is not None and known.spatial == spatial:
            return known.storage
        name = self._need_plain(name)
        shape = self._graph.shapes[name]
        rank = len(shape)
        lead = len(shape) - 1 - spatial
        turned = _turn(shape, spatial)
        if volume(shape[lead + 1 :]) == 1 or shape[lead] == 1:  # nothing moves
            return self._reshape(name, turned, f"{name}.last")
        perm = [*range(lead), *range(lead + 1, rank), lead]
        storage = self._add(
            "Transpose", [name], self._graph.fresh(f"{name}.last"), turned, perm=perm
        )
        if known is None:
            self._last[name] = _Last(storage, spatial)
            self._plain.add(name)
        return storage

    def _record(self, name: str, storage: str, spatial: int) -> None:
        self._last[name] = _Last(storage, spatial)

    def _emit_norm(self, norm: GroupNorm) -> None:
        graph = self._graph
        shape = graph.shapes[norm.source]
        storage = self._need_last(norm.source, 2)
        scale = [
            self._add("Cast", [name], graph.fresh(f"{name}.float"), graph.shapes[name], to=FLOAT32)
            for name in (norm.gain, norm.shift)
        ]
        output = graph.fresh(f"{norm.output}.last")
        self._add(
            "GroupNorm",
            [storage, *scale],
            output,
            _turn(shape, 2),
            domain=MICROSOFT,
            groups=norm.groups,
            epsilon=norm.epsilon,
            activation=int(norm.silu),
            channels_last=1,
        )
        self._record(norm.output, output, 2)

    def _emit_conv(self, node: onnx.NodeProto) -> bool:
        graph = self._graph
        name = node.input[0]
        weight = node.input[1]
        output = node.output[0]
        shape = graph.shapes[output]
        kernel = graph.shapes[weight]
        if (
            len(shape) != 4
            or attribute(node, "group", 1) != 1
            or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET"
        ):
            return False
        storage = self._need_last(name, 2)
        if _is_pointwise(node, kernel):
            self._emit_pointwise(node, storage)
            return True
        turned = graph.fresh(f"{weight}.last")
        self._add("Transpose", [weight], turned, _turn(kernel, 2), perm=[0, 2, 3, 1])
        last = self._add(
            "NhwcConv",
            [storage, turned],
            graph.fresh(f"{output}.last"),
            _turn(shape, 2),
            domain=MICROSOFT,
            group=1,
            **_read_window(node),
        )
        self._record(output, self._add_bias(node, last), 2)
        return True

    def _emit_pointwise(self, node: onnx.NodeProto, storage: str) -> None:
        """A product with tokens."""
        graph = self._graph
        weight = node.input[1]
        output = node.output[0]
        made, read = graph.shapes[weight][:2]
        batch, height, width = (graph.shapes[output][axis] for axis in (0, 2, 3))
        tokens = self._reshape(storage, (batch, height * width, read), f"{output}.tokens")
        flat = self._reshape(weight, (made, read), f"{weight}.flat")
        turned = self._add(
            "Transpose", [flat], graph.fresh(f"{weight}.turned"), (read, made), perm=[1, 0]
        )
        last = self._add(
            "MatMul",
            [tokens, turned],
            graph.fresh(f"{output}.matmul"),
            (batch, height * width, made),
        )
        last = self._add_bias(node, last)
        self._record(output, self._reshape(last, (batch, height, width, made), f"{output}.last"), 2)

    def _add_bias(self, node: onnx.NodeProto, last: str) -> str:
        """Apart from the convolution, as what follows may take it in."""
        if len(node.input) < 3:
            return last
        return self._add(
            "Add",
            [last, node.input[2]],
            self._graph.fresh(f"{node.output[0]}.biased"),
            self._graph.shapes[last],
        )

    def _emit_add(self, node: onnx.NodeProto) -> bool:
        names = [self._alias.get(name, name) for name in node.input]
        known = [self._last[name] for name in names if name in self._last]
        shapes = [self._graph.shapes[name] for name in names]
        if not known or len({len(shape) for shape in shapes}) != 1:
            return False
        spatial = known[0].spatial
        output = node.output[0]
        storages = [self._need_last(name, spatial) for name in names]
        last = self._add(
            "Add",
            storages,
            self._graph.fresh(f"{output}.last"),
            _turn(self._graph.shapes[output], spatial),
        )
        self._record(output, last, spatial)
        return True

    def _emit_concat(self, node: onnx.NodeProto) -> bool:
        output = node.output[0]
        shape = self._graph.shapes[output]
        if (
            len(shape) != 4
            or attribute(node, "axis") != 1
            or not any(name in self._last for name in node.input)
        ):
            return False
        storages = [self._need_last(name, 2) for name in node.input]
        last = self._add(
            "Concat", storages, self._graph.fresh(f"{output}.last"), _turn(shape, 2), axis=3
        )
        self._record(output, last, 2)
        return True

    def _emit_resize(self, node: onnx.NodeProto) -> bool:
        output = node.output[0]
        shape = self._graph.shapes[output]
        if (
            node.input[0] not in self._last
            or len(shape) != 4
            or attribute(node, "axes") is not None
        ):
            return False
        inputs = [self._need_last(node.input[0], 2), *node.input[1:]]
        for place in (2, 3):
            if len(inputs) > place and inputs[place]:
                values = self._graph.read(inputs[place])
                if values is None:
                    return False
                inputs[place] = self._graph.constant(values[[0, 2, 3, 1]], "scales")
        kept = {one.name: attribute(node, one.name) for one in node.attribute}
        last = self._add(
            "Resize", inputs, self._graph.fresh(f"{output}.last"), _turn(shape, 2), **kept
        )
        self._record(output, last, 2)
        return True

    def _emit_reshape(self, node: onnx.NodeProto) -> bool:
        name = self._alias.get(node.input[0], node.input[0])
        output = node.output[0]
        shape = self._graph.shapes[output]
        last = self._last.get(name)
        if last is None:
            return False
        before = self._graph.shapes[name]
        kept = before[len(before) - 1 - last.spatial :]
        spatial = _match(kept, shape)
        if spatial is None:
            return False
        self._record(
            output, self._reshape(last.storage, _turn(shape, spatial), f"{output}.last"), spatial
        )
        return True

    def _emit_transpose(self, node: onnx.NodeProto) -> bool:
        name = self._alias.get(node.input[0], node.input[0])
        output = node.output[0]
        perm = list(attribute(node, "perm", ()))
        last = self._last.get(name)
        if last is not None:
            lead = len(perm) - 1 - last.spatial
            if (
                perm == [*range(lead), *range(lead + 1, len(perm)), lead]
                and output not in self._graph.outputs
            ):
                self._alias[output] = last.storage
                return True
            return False
        # Tokens that become a map again.
        if perm == [0, 2, 1] and output not in self._graph.outputs:
            self._record(output, self._need_plain(name), 1)
            return True
        return False


def _is_pointwise(node: onnx.NodeProto, kernel: Shape) -> bool:
    """Whether a convolution is a product with each position by itself."""
    still = set(attribute(node, "strides", [1])) == {1} and not any(attribute(node, "pads", ()))
    return kernel[2:] == (1, 1) and still


def _read_window(node: onnx.NodeProto) -> dict[str, list[int]]:
    """What of a convolution's attributes is set of how its window moves."""
    names = ("kernel_shape", "pads", "strides", "dilations")
    found = {name: attribute(node, name) for name in names}
    return {name: list(value) for name, value in found.items() if value is not None}


def _turn(shape: Shape, spatial: int) -> Shape:
    """(lead axes, channels, spatial axes) as (lead axes, spatial axes, channels)."""
    lead = len(shape) - 1 - spatial
    return (*shape[:lead], *shape[lead + 1 :], shape[lead])


def _match(kept: Shape, shape: Shape) -> int | None:
    """How many spatial axes a view has of (channels, spatial axes).

    None where channels are no axis of it.
    """
    channels = kept[0]
    rest = volume(kept[1:])
    for spatial in (1, 2):
        place = len(shape) - 1 - spatial
        if place >= 0 and shape[place] == channels and volume(shape[place + 1 :]) == rest:
            return spatial
    return None
