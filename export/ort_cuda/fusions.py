"""Chains of operators as the one kernel that ONNX Runtime's CUDA provider has for them.

Each saves trips to memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.ort_cuda.edited_graph import MICROSOFT, EditedGraph, attribute, volume

if TYPE_CHECKING:
    import onnx

GEGLU_WIDTHS = (1280, 2560, 5120)
"""Values of half a token that the BiasSplitGelu kernel is compiled for."""

RESIDUAL_WIDTHS = (320, 640, 1280)
"""Channels that the BiasAdd kernel is compiled for."""

SHORTEST = 32
"""Tokens below which an attention is too small for a kernel's tile, which has 64 rows:
several are packed into one."""

PACKED = 8
"""Attentions in one: of 2 to 16 of the published network's temporal ones, the quickest
on an H100 (measured)."""

FEWEST = 8
MOST_ROWS = 1024
"""Products that are worth joining, and rows from which on each fills a GPU by itself;
chosen, not measured."""

MASKED = -60000.0
"""Added to the scores of tokens of different attentions: far below any score, and
within float16."""


def fuse(graph: EditedGraph) -> None:
    """All of them, in the order in which one makes room for the next."""
    for rewrite in (
        _merge_twins,
        _flatten_choices,
        _flatten_sums,
        _join_products,
        _pack_attentions,
        _fuse_geglu,
        _scale_products,
        _sink_biases,
        _fuse_layer_norms,
        _fuse_group_norms,
        _fuse_residuals,
    ):
        rewrite(graph)
        graph.index()


def _merge_twins(graph: EditedGraph) -> None:
    """Nodes that compute the same of the same, once."""
    first: dict[bytes, list[str]] = {}
    names: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = [names.get(name, name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        plain = type(node).FromString(node.SerializeToString())
        plain.name = ""
        plain.output[:] = ["wanted" if name else "" for name in node.output]
        earlier = first.setdefault(plain.SerializeToString(), list(node.output))
        if earlier != list(node.output) and not set(node.output) & set(graph.outputs):
            names |= dict(zip(node.output, earlier, strict=True))
        else:
            nodes.append(node)
    graph.nodes = nodes


def _flatten_choices(graph: EditedGraph) -> None:
    """A frame's own keys, and behind them the reference's or its own again.

    One choice along a new axis.

    In the export it is a choice and then a Concat, which takes the values through
    memory once more.
    """
    for place, node in enumerate(graph.nodes):
        if node.op_type != "Concat" or len(node.input) != 2 or attribute(node, "axis") != 2:
            continue
        own, chosen = node.input
        choice = graph.maker(chosen, "Where")
        shape = graph.shapes[own]
        if choice is None or choice.input[2] != own or len(shape) != 4 or shape[0] != 1:
            continue
        gate, reference = choice.input[:2]
        if graph.shapes[reference] != (1, 1, *shape[2:]) or volume(graph.shapes[gate]) != 1:
            continue
        output = node.output[0]
        flat = shape[2] * shape[3]
        first = graph.constant(np.ones((1, 1, 1), bool), "true")
        views = [
            graph.make(
                "Reshape", [name, graph.integers(view)], graph.fresh(f"{output}.{part}"), view
            )
            for name, part, view in (
                (gate, "gate", (1, 1, 1)),
                (own, "own", (shape[1], 1, flat)),
                (reference, "reference", (1, 1, flat)),
            )
        ]
        no = graph.make("Not", [views[0].output[0]], graph.fresh(f"{output}.no"), (1, 1, 1))
        which = graph.make(
            "Concat", [first, no.output[0]], graph.fresh(f"{output}.which"), (1, 2, 1), axis=1
        )
        wide = (shape[1], 2, flat)
        both = graph.make(
            "Where",
            [which.output[0], views[1].output[0], views[2].output[0]],
            graph.fresh(f"{output}.both"),
            wide,
        )
        graph.nodes[place] = graph.make(
            "Reshape",
            [both.output[0], graph.integers(graph.shapes[output])],
            output,
            graph.shapes[output],
        )
        graph.nodes += [*views, no, which, both]


def _flatten_sums(graph: EditedGraph) -> None:
    """What is added to each of many tokens' rows alike, such as positions.

    With as few axes as it takes.

    ONNX Runtime finds each value's place by a division an axis.
    """
    for place, node in enumerate(graph.nodes):
        shapes = [graph.shapes[name] for name in node.input if node.op_type == "Add"]
        if (
            [len(shape) for shape in shapes] != [3, 3]
            or shapes[1] != (1, *shapes[0][1:])
            or shapes[0][0] == 1
        ):
            continue  # of one row it is a plain sum, which a norm may take in
        output = node.output[0]
        flat = volume(shapes[0][1:])
        views = [
            graph.make(
                "Reshape",
                [name, graph.integers((shape[0], flat))],
                graph.fresh(f"{name}.flat"),
                (shape[0], flat),
            )
            for name, shape in zip(node.input, shapes, strict=True)
        ]
        total = graph.make(
            "Add",
            [view.output[0] for view in views],
            graph.fresh(f"{output}.flat"),
            (shapes[0][0], flat),
        )
        graph.nodes[place] = graph.make(
            "Reshape", [total.output[0], graph.integers(shapes[0])], output, shapes[0]
        )
        graph.nodes += [*views, total]


def _join_products(graph: EditedGraph) -> None:
    """Products of the same few rows with many weights, such as the time embedding's and the audio tokens': as one.

    Each alone is too small for a GPU and takes a launch.
    """
    groups: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if (
            node.op_type == "MatMul"
            and graph.is_constant(node.input[1])
            and len(graph.shapes[node.input[1]]) == 2
        ):
            groups.setdefault(node.input[0], []).append(node)
    for source, products in groups.items():
        rows = volume(graph.shapes[source][:-1])
        if len(products) >= FEWEST and rows <= MOST_ROWS:
            _join(graph, source, products)
            graph.index()


def _join(graph: EditedGraph, source: str, products: list[onnx.NodeProto]) -> None:
    shape = graph.shapes[source]
    added = [graph.only_reader(product.output[0], "Add") for product in products]
    biases = [None if one is None else _split_bias(graph, one) for one in added]
    ends = [product.output[0] for product in products]
    widths = [graph.shapes[end][-1] for end in ends]
    wide = sum(widths)
    stem = graph.fresh(f"{source}.joined")
    weights = graph.make(
        "Concat",
        [product.input[1] for product in products],
        f"{stem}.weights",
        (shape[-1], wide),
        axis=1,
    )
    joined = [
        weights,
        graph.make("MatMul", [source, weights.output[0]], f"{stem}.matmul", (*shape[:-1], wide)),
    ]
    gone = {id(product) for product in products}
    if all(biases):
        bias = graph.make(
            "Concat", [parts[1] for parts in biases if parts], f"{stem}.bias", (wide,), axis=0
        )
        joined += [
            bias,
            graph.make(
                "Add", [joined[1].output[0], bias.output[0]], f"{stem}.biased", (*shape[:-1], wide)
            ),
        ]
        graph.vectors.add(bias.output[0])
        ends = [one.output[0] for one in added if one is not None]
        gone |= {id(one) for one in added}
    joined.append(
        graph.make(
            "Split", [joined[-1].output[0], graph.integers(widths)], ends, (), axis=len(shape) - 1
        )
    )
    for end, width in zip(ends, widths, strict=True):
        graph.shapes[end] = (*shape[:-1], width)
    graph.nodes = [node for node in graph.nodes if id(node) not in gone] + joined


def _pack_attentions(graph: EditedGraph) -> None:
    """Attentions over a few tokens, many at a time, as fewer ones over more tokens, with a mask between them."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        nodes.extend(_pack(graph, node) if node.op_type == "MultiHeadAttention" else [node])
    graph.nodes = nodes


def _pack(graph: EditedGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    shapes = [graph.shapes[name] for name in node.input[:3]]
    batch, tokens, width = shapes[0]
    if len(node.input) > 3 or len(set(shapes)) != 1 or tokens > SHORTEST or batch % PACKED:
        return [node]
    packed = (batch // PACKED, PACKED * tokens, width)
    mask = np.full((PACKED, tokens, PACKED, tokens), MASKED, graph.dtype)
    for place in range(PACKED):
        mask[place, :, place] = 0
    wide = packed[1]
    masked = graph.constant(mask.reshape(1, 1, wide, wide), "attention_mask")
    views = [
        graph.make("Reshape", [name, graph.integers(packed)], graph.fresh(f"{name}.packed"), packed)
        for name in node.input
    ]
    output = node.output[0]
    inside = graph.fresh(f"{output}.packed")
    kept = {one.name: attribute(node, one.name) for one in node.attribute}
    return [
        *views,
        graph.make(
            "MultiHeadAttention",
            [*(view.output[0] for view in views), "", "", masked],
            inside,
            packed,
            domain=MICROSOFT,
            **kept,
        ),
        graph.make("Reshape", [inside, graph.integers(shapes[0])], output, shapes[0]),
    ]


def _fuse_geglu(graph: EditedGraph) -> None:
    """bias, halves, GELU of the second, product: BiasSplitGelu."""
    for place, node in enumerate(graph.nodes):
        if node.op_type != "Mul" or len(node.input) != 2:
            continue
        gelu = graph.maker(node.input[1], "Gelu")
        left = graph.maker(node.input[0], "Slice")
        right = None if gelu is None else graph.maker(gelu.input[0], "Slice")
        if (
            gelu is None
            or left is None
            or right is None
            or attribute(gelu, "approximate", b"none") != b"none"
        ):
            continue
        whole = left.input[0]
        half = graph.shapes[node.output[0]][-1]
        bounds = [[graph.scalar(name) for name in part.input[1:4]] for part in (left, right)]
        last = len(graph.shapes[whole]) - 1
        if right.input[0] != whole or bounds != [[0, half, last], [half, 2 * half, last]]:
            continue
        biased = graph.maker(whole, "Add")
        parts = None if biased is None else _split_bias(graph, biased)
        if (
            parts is None
            or last != 2
            or half not in GEGLU_WIDTHS
            or graph.shapes[whole][last] != 2 * half
        ):
            continue
        graph.nodes[place] = graph.make(
            "BiasSplitGelu",
            list(parts),
            node.output[0],
            graph.shapes[node.output[0]],
            domain=MICROSOFT,
        )


def _scale_products(graph: EditedGraph) -> None:
    """(x W + b) times a constant.

    The product scales by itself, and the bias once, when the session starts.
    """
    for place, node in enumerate(graph.nodes):
        if node.op_type != "Mul" or len(node.input) != 2:
            continue
        factor = graph.scalar(node.input[1])
        biased = graph.maker(node.input[0], "Add")
        parts = None if biased is None else _split_bias(graph, biased)
        if (
            factor is None
            or biased is None
            or parts is None
            or len(graph.shapes[node.input[1]]) > 1
        ):
            continue
        product = graph.maker(parts[0], "MatMul")
        if (
            product is None
            or not _is_read_once(graph, node.input[0])
            or not _is_read_once(graph, parts[0])
        ):
            continue
        shape = graph.shapes[node.output[0]]
        output = node.output[0]
        scaled = graph.make(
            "FusedMatMul",
            list(product.input),
            graph.fresh(f"{output}.matmul"),
            shape,
            domain=MICROSOFT,
            alpha=factor,
        )
        bias = _compute_vector(graph, "Mul", [parts[1], node.input[1]], f"{output}.bias")
        graph.nodes[place] = graph.make("Add", [scaled.output[0], bias], output, shape)
        graph.nodes.append(scaled)


def _sink_biases(graph: EditedGraph) -> None:
    """Views and transposes before the bias that they follow.

    It then lies next to what can take it in.
    """
    for node in list(graph.nodes):
        parts = _split_bias(graph, node) if node.op_type == "Add" else None
        while parts is not None:
            output = node.output[0]
            view = graph.only_reader(output, "Reshape") or graph.only_reader(output, "Transpose")
            if view is None or not _keeps_last(graph, view, output):
                break
            source, bias = parts
            outside = view.output[0]
            shape = graph.shapes[view.output[0]]
            inside = graph.fresh(f"{outside}.unbiased")
            graph.shapes[inside] = shape
            view.input[0] = source
            view.output[0] = inside
            del node.input[:]
            node.input.extend([inside, bias])
            node.output[0] = outside
            graph.index()
            parts = (inside, bias)


def _keeps_last(graph: EditedGraph, view: onnx.NodeProto, name: str) -> bool:
    before = graph.shapes[name]
    after = graph.shapes[view.output[0]]
    if view.input[0] != name:
        return False
    if view.op_type == "Transpose":
        return bool(attribute(view, "perm", (0,))[-1] == len(before) - 1)
    return before[-1:] == after[-1:]


def _fuse_layer_norms(graph: EditedGraph) -> None:
    """Bias, residual and layer norm: SkipLayerNormalization, which gives their sum out as well."""
    removed: set[int] = set()
    for place, node in enumerate(graph.nodes):
        shape = graph.shapes[node.input[0]] if node.op_type == "LayerNormalization" else ()
        if len(shape) != 3 or attribute(node, "axis", -1) not in (-1, 2) or len(node.input) != 3:
            continue
        total = graph.maker(node.input[0], "Add")
        if total is None or id(total) in removed or len(node.output) > 1:
            continue
        source, skip, bias = _split_sum(graph, total)
        if skip is None:  # nothing is added but the bias: a skip of zeros, which stays in the cache
            skip = graph.constant(np.zeros(shape[1:], graph.dtype), "zeros")
        if graph.shapes[source] != shape or graph.shapes[skip] not in (shape, shape[1:]):
            continue
        read = [one for one in graph.readers[node.input[0]] if one is not node] or node.input[
            0
        ] in graph.outputs
        graph.nodes[place] = graph.make(
            "SkipLayerNormalization",
            [source, skip, *node.input[1:], *([bias] if bias else [])],
            [node.output[0], "", "", node.input[0]] if read else [node.output[0]],
            shape,
            domain=MICROSOFT,
            epsilon=attribute(node, "epsilon", 1e-5),
        )
        removed.add(id(total))
    graph.nodes = [node for node in graph.nodes if id(node) not in removed]


def _fuse_group_norms(graph: EditedGraph) -> None:
    """Bias, residual or time embedding, and group norm.

    SkipGroupNorm, which gives their sum out as well.
    """
    removed: set[int] = set()
    added: list[onnx.NodeProto] = []
    for place, node in enumerate(graph.nodes):
        if node.op_type != "GroupNorm":
            continue
        total = graph.maker(node.input[0], "Add")
        if total is None or id(total) in removed:
            continue
        source, skip, bias = _split_sum(graph, total)
        shape = graph.shapes[node.input[0]]
        if graph.shapes[source] != shape:
            continue
        one = (1, 1, 1, shape[3])
        wide = (shape[0], 1, 1, shape[3])
        if skip is None and bias is not None:
            added.append(
                graph.make("Reshape", [bias, graph.integers(one)], graph.fresh(f"{bias}.skip"), one)
            )
            skip = added[-1].output[0]
            bias = None
        assert skip is not None
        if graph.shapes[skip] == one:
            added.append(
                graph.make(
                    "Expand", [skip, graph.integers(wide)], graph.fresh(f"{skip}.wide"), wide
                )
            )
            skip = added[-1].output[0]
        if graph.shapes[skip] not in (shape, wide):
            continue
        read = [one for one in graph.readers[node.input[0]] if one is not node] or node.input[
            0
        ] in graph.outputs
        kept = {one.name: attribute(node, one.name) for one in node.attribute}
        graph.nodes[place] = graph.make(
            "SkipGroupNorm",
            [source, *node.input[1:], skip, *([bias] if bias else [])],
            [node.output[0], node.input[0]] if read else [node.output[0]],
            shape,
            domain=MICROSOFT,
            **kept,
        )
        removed.add(id(total))
    graph.nodes = [node for node in graph.nodes if id(node) not in removed] + added


def _fuse_residuals(graph: EditedGraph) -> None:
    """What is left of bias and residual: BiasAdd, of three axes."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        source, skip, bias = _split_sum(graph, node) if node.op_type == "Add" else ("", None, None)
        shape = graph.shapes[node.output[0]]
        if skip is None or bias is None or {graph.shapes[source], graph.shapes[skip]} != {shape}:
            nodes.append(node)
            continue
        if shape[-1] not in RESIDUAL_WIDTHS:
            nodes.append(node)
            continue
        flat = (shape[0], volume(shape[1:-1]), shape[-1])
        output = node.output[0]
        names = [source, skip]
        if len(shape) != 3:
            for place, name in enumerate(names):
                nodes.append(
                    graph.make(
                        "Reshape", [name, graph.integers(flat)], graph.fresh(f"{name}.flat"), flat
                    )
                )
                names[place] = nodes[-1].output[0]
            output = graph.fresh(f"{node.output[0]}.flat")
        nodes.append(
            graph.make("BiasAdd", [names[0], bias, names[1]], output, flat, domain=MICROSOFT)
        )
        if len(shape) != 3:
            nodes.append(
                graph.make("Reshape", [output, graph.integers(shape)], node.output[0], shape)
            )
    graph.nodes = nodes


def _split_bias(graph: EditedGraph, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Value and bias of an Add of a constant vector over the last axis."""
    for value, bias in (tuple(node.input), tuple(node.input)[::-1]):
        shape = graph.shapes[value]
        if graph.is_vector(bias) and len(shape) > 1 and graph.shapes[bias] == shape[-1:]:
            return value, bias
    return None


def _is_read_once(graph: EditedGraph, name: str) -> bool:
    return len(graph.readers.get(name, ())) == 1 and name not in graph.outputs


def _split_sum(graph: EditedGraph, node: onnx.NodeProto) -> tuple[str, str | None, str | None]:
    """(value, other value or None, bias or None) of an Add.

    The biases of operands that only it reads are taken out.
    """
    alone = _split_bias(graph, node)
    if alone is not None:
        return alone[0], None, alone[1]
    values = list(node.input)
    biases = list[str]()
    for place, value in enumerate(values):
        biased = graph.maker(value, "Add")
        parts = None if biased is None else _split_bias(graph, biased)
        full = parts is not None and graph.shapes[parts[1]] == graph.shapes[node.output[0]][-1:]
        if parts is not None and full and _is_read_once(graph, value):
            values[place] = parts[0]
            biases.append(parts[1])
    if graph.shapes[values[0]] != graph.shapes[node.output[0]]:
        values.reverse()
    if len(biases) == 2:
        biases = [_compute_vector(graph, "Add", biases, f"{node.output[0]}.bias")]
    return values[0], values[1], biases[0] if biases else None


def _compute_vector(graph: EditedGraph, operator: str, inputs: list[str], stem: str) -> str:
    """An operator on constant vectors, in float32.

    What ONNX Runtime can compute before a session's first call.
    """
    shape = graph.shapes[inputs[0]]
    wide = [
        graph.make("Cast", [name], graph.fresh(f"{stem}.float"), graph.shapes[name], to=1)
        for name in inputs
    ]
    made = graph.make(
        operator, [node.output[0] for node in wide], graph.fresh(f"{stem}.sum"), shape
    )
    name = graph.fresh(stem)
    last = graph.make(
        "Cast", [made.output[0]], name, shape, to=1 if graph.dtype == np.float32 else 10
    )
    graph.nodes += [*wide, made, last]
    graph.vectors.add(name)
    return name
