"""Maps kept channels-last.

CuDNN's tensor cores and ONNX Runtime's norms want them so, and tokens become mere
views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoexport.export.ort_cuda.edited_graph import MICROSOFT, EditedGraph, Shape, attribute, volume

if TYPE_CHECKING:
    import onnx

GROUPS = 32
"""Groups of the published networks' norms; ONNX Runtime's kernel takes at most so many."""

LARGEST_BATCH = 32
"""Pictures that ONNX Runtime's group norm takes at once at most."""


@dataclass(frozen=True)
class _Last:
    """Where a value (lead axes, channels, spatial axes) lies as (lead axes, spatial axes, channels)."""

    storage: str
    spatial: int


@dataclass(frozen=True)
class _Norm:
    """A group norm of a map.

    ``silu`` where its value is only used through SiLU, which ``output`` then is.
    """

    source: str
    gain: str
    shift: str
    groups: int
    epsilon: float
    output: str
    silu: bool


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
        inside = _find_inside(self._graph, norms)
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
        self, operator: str, inputs: list[str], output: str, shape: Shape, **attributes: object
    ) -> str:
        self._made.append(self._graph.make(operator, inputs, output, shape, **attributes))  # type: ignore[arg-type]
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

    def _emit_norm(self, norm: _Norm) -> None:
        graph = self._graph
        shape = graph.shapes[norm.source]
        storage = self._need_last(norm.source, 2)
        scale = [
            self._add(
                "Cast", [name], graph.fresh(f"{name}.float"), graph.shapes[name], to=1
            )  # to float32
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
        if (
            kernel[2:] == (1, 1)
            and set(attribute(node, "strides", [1])) == {1}
            and not any(attribute(node, "pads", ()))
        ):
            self._emit_pointwise(node, storage)
            return True
        turned = self._add(
            "Transpose",
            [weight],
            graph.fresh(f"{weight}.last"),
            _turn(kernel, 2),
            perm=[0, 2, 3, 1],
        )
        kept = {
            key: list(value)
            for key in ("kernel_shape", "pads", "strides", "dilations")
            if (value := attribute(node, key)) is not None
        }
        last = self._add(
            "NhwcConv",
            [storage, turned],
            graph.fresh(f"{output}.last"),
            _turn(shape, 2),
            domain=MICROSOFT,
            group=1,
            **kept,
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
        if (
            perm == [0, 2, 1] and output not in self._graph.outputs
        ):  # tokens that become a map again
            self._record(output, self._need_plain(name), 1)
            return True
        return False


def find_norms(graph: EditedGraph) -> list[_Norm]:
    """Group norms of four-axis maps, as the export writes them: a view by groups, their
    norm, the view back, gain and shift; and SiLU behind it where nothing else reads it."""
    found = []
    for node in graph.nodes:
        if (
            node.op_type == "InstanceNormalization"
            and (norm := _match_norm(graph, node)) is not None
        ):
            found.append(norm)
    return found


def _match_norm(graph: EditedGraph, node: onnx.NodeProto) -> _Norm | None:
    grouped = graph.maker(node.input[0], "Reshape")
    back = graph.only_reader(node.output[0], "Reshape")
    if grouped is None or back is None:
        return None
    ones = graph.read(node.input[1])
    zeros = graph.read(node.input[2])
    scaled = graph.only_reader(back.output[0], "Mul")
    shifted = None if scaled is None else graph.only_reader(scaled.output[0], "Add")
    if (
        scaled is None
        or shifted is None
        or ones is None
        or zeros is None
        or (ones != 1).any()
        or zeros.any()
    ):
        return None
    source = grouped.input[0]
    groups = len(ones)
    shape = graph.shapes[source]
    same = graph.shapes[back.output[0]] == shape and graph.shapes[grouped.output[0]][0] == shape[0]
    fits = len(shape) == 4 and shape[0] <= LARGEST_BATCH and groups <= GROUPS
    if not same or not fits or shape[1] % (2 * groups):  # the kernel reads channels by twos
        return None
    gain, shift = (_vector(graph, one.input[1], shape[1]) for one in (scaled, shifted))
    if gain is None or shift is None:
        return None
    epsilon = attribute(node, "epsilon", 1e-5)
    output = shifted.output[0]
    readers = graph.readers.get(output, [])
    if (
        sorted(reader.op_type for reader in readers) == ["Mul", "Sigmoid"]
        and output not in graph.outputs
    ):
        gate = next(reader for reader in readers if reader.op_type == "Sigmoid").output[0]
        product = graph.only_reader(gate, "Mul")
        if product is not None and set(product.input) == {output, gate}:
            return _Norm(source, gain, shift, groups, epsilon, product.output[0], silu=True)
    return _Norm(source, gain, shift, groups, epsilon, output, silu=False)


def _find_inside(graph: EditedGraph, norms: dict[str, _Norm]) -> set[str]:
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


def _turn(shape: Shape, spatial: int) -> Shape:
    lead = len(shape) - 1 - spatial
    return (*shape[:lead], *shape[lead + 1 :], shape[lead])


def _match(kept: Shape, shape: Shape) -> int | None:
    """How many spatial axes a view has of (channels, spatial axes), where channels stay one axis of it."""
    channels = kept[0]
    rest = volume(kept[1:])
    for spatial in (1, 2):
        place = len(shape) - 1 - spatial
        if place >= 0 and shape[place] == channels and volume(shape[place + 1 :]) == rest:
            return spatial
    return None
