"""Our own rules for a graph, so that one file serves every target's parser.

Parsers accept less (or, for wrong axes, more) than they should; these rules are what
ONNX Runtime, OpenVINO and TensorRT 10.3 to 11 all take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from echoexport.calibration.lint.finding import Finding
from echoexport.calibration.lint.qdq_lint import check_qdq
from echoexport.calibration.lint.tensorrt_lint import check_tensorrt
from echoexport.calibration.lint.tensorrt_operators import LINES
from echoexport.runtime.contract.operators import NEWEST_OPSET, PLAIN_OPERATORS
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.errors import GraphError

if TYPE_CHECKING:
    import onnx

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "NonZero", "SequenceMap"})

# What to do about a broken rule of ours; TensorRT's bring their own.
FIXES = {
    "opset": f"export at opset {NEWEST_OPSET}, with ONNX's own operators",
    "operator": "export it with operators of the list",
    "control flow": "trace for one size, so that nothing depends on data",
    "interface": "trace again for this bundle's sizes",
    "dtype": "put a Cast before it, or store it in the graph's own type",
    "shape": "fold it on the host: shapes are constants",
    "name": "trace again",
    "type": "put a Cast before one of the inputs, or infer the shapes again",
    "qdq scale": "calibrate again: scales are constants in the graph, positive and normal",
    "qdq opset": f"export at opset {NEWEST_OPSET}",
    "qdq zero point": "quantize symmetrically: int8 and 0",
    "qdq axis": "one scale for each output channel: axis 0 of a Conv's weight, 1 of a MatMul's",
    "qdq activation": "one scale for the whole activation",
    "qdq weight": "store the weight as int8 behind a DequantizeLinear",
    "qdq pair": "let each QuantizeLinear feed its own DequantizeLinear alone",
    "qdq reader": "leave it in float",
}


def lint_graph(
    model: onnx.ModelProto,
    spec: SubnetSpec,
    *,
    float32: Collection[str] = (),
    tensorrt: Collection[str] = tuple(LINES),
) -> list[Finding]:
    """Every rule that the graph breaks; an empty list is what a build wants.

    ``float32`` names values and constants that an fp16 graph may hold in fp32
    (``float_islands.list_float32``). ``tensorrt`` names versions whose parsers' rules
    hold too: all that there are, since one graph serves all targets.

    Raises:
        GraphError: a version of TensorRT that is older than 10.3.
    """
    own = [
        *_check_opset(model),
        *_check_operators(model),
        *_check_interface(model, spec),
        *_check_dtypes(model, spec, float32=frozenset(float32)),
        *_check_shapes(model),
        *_check_names(model),
        *_check_types(model),
        *check_qdq(model),
    ]
    return [*(replace(one, fix=FIXES[one.rule]) for one in own), *check_tensorrt(model, tensorrt)]


def require_clean(
    model: onnx.ModelProto,
    spec: SubnetSpec,
    *,
    float32: Collection[str] = (),
    tensorrt: Collection[str] = tuple(LINES),
) -> None:
    """Lint, and refuse what breaks a rule; ``float32`` and ``tensorrt`` as in ``lint_graph``.

    Raises:
        GraphError: naming the first broken rule and how many there are.
    """
    findings = lint_graph(model, spec, float32=float32, tensorrt=tensorrt)
    if findings:
        raise GraphError(
            f"{spec.name}: {len(findings)} broken graph rules, the first: {findings[0]}"
        )


def _check_opset(model: onnx.ModelProto) -> Iterator[Finding]:
    if all(entry.domain not in ("", "ai.onnx") for entry in model.opset_import):
        yield Finding("opset", "model", "names no version of the default operators")
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            yield Finding("opset", entry.domain, "custom operator domains are not allowed")
        elif entry.version > NEWEST_OPSET:
            yield Finding(
                "opset", "model", f"{entry.version}; at most {NEWEST_OPSET} parses on JetPack 6"
            )
    if model.functions:
        yield Finding("opset", model.functions[0].name, "model-local functions are not allowed")


def _check_operators(model: onnx.ModelProto) -> Iterator[Finding]:
    for node in model.graph.node:
        if node.op_type in CONTROL_FLOW or any(a.HasField("g") or a.graphs for a in node.attribute):
            yield Finding("control flow", node.name, f"{node.op_type} depends on data")
        elif node.op_type not in PLAIN_OPERATORS or node.domain not in ("", "ai.onnx"):
            yield Finding(
                "operator",
                node.name,
                f"{node.domain or 'onnx'}.{node.op_type} is not on the allow-list",
            )


def _check_interface(model: onnx.ModelProto, spec: SubnetSpec) -> Iterator[Finding]:
    from onnx import helper

    for side, values, tensors in (
        ("input", model.graph.input, spec.inputs),
        ("output", model.graph.output, spec.outputs),
    ):
        found = {
            v.name: (
                helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name,
                tuple(d.dim_value for d in v.type.tensor_type.shape.dim),
            )
            for v in values
        }
        wanted = {t.name: (t.dtype, t.shape) for t in tensors}
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                yield Finding(
                    "interface",
                    f"{side} {name}",
                    f"wanted {wanted.get(name)}, found {found.get(name)}",
                )


def _check_dtypes(
    model: onnx.ModelProto, spec: SubnetSpec, *, float32: frozenset[str]
) -> Iterator[Finding]:
    """Strong typing: one float type throughout but for ``float32``.

    A Cast or Q/DQ is the only way into another.
    """
    from onnx import TensorProto

    floats = {
        TensorProto.FLOAT: "float32",
        TensorProto.FLOAT16: "float16",
        TensorProto.BFLOAT16: "bfloat16",
        TensorProto.DOUBLE: "float64",
    }
    wanted = spec.inputs[0].dtype
    exempt = float32 | {
        node.input[2]
        for node in model.graph.node
        if node.op_type == "Resize" and len(node.input) > 2
    }
    for tensor in model.graph.initializer:
        if floats.get(tensor.data_type, wanted) != wanted and tensor.name not in exempt:
            yield Finding("dtype", tensor.name, f"{floats[tensor.data_type]} in a {wanted} graph")
    for info in model.graph.value_info:
        found = info.type.tensor_type.elem_type
        if floats.get(found, wanted) != ("float32" if info.name in float32 else wanted):
            yield Finding("dtype", info.name, f"{floats[found]} in a {wanted} graph")


def _check_shapes(model: onnx.ModelProto) -> Iterator[Finding]:
    """Static shapes throughout: reshapes by constants only, every side known."""
    for info in model.graph.value_info:
        sides = [side.dim_value for side in info.type.tensor_type.shape.dim]
        if any(side < 1 for side in sides):
            yield Finding("shape", info.name, f"is said to be {sides}; every side must be known")
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Reshape", "Slice", "Split", "Pad", "Resize"):
            for name in node.input[1:]:
                if name and name not in constants:
                    yield Finding(
                        "shape", node.name, f"{node.op_type} takes its {name!r} from data"
                    )


def _check_names(model: onnx.ModelProto) -> Iterator[Finding]:
    """Every value is produced once, before it is read."""
    produced = {value.name for value in (*model.graph.input, *model.graph.initializer)}
    for node in model.graph.node:
        for name in filter(None, node.input):
            if name not in produced:
                yield Finding("name", node.name, f"reads {name!r}, which nothing before it gives")
        for name in node.output:
            if name in produced:
                yield Finding("name", node.name, f"value {name!r} is produced twice")
            produced.add(name)


def _check_types(model: onnx.ModelProto) -> Iterator[Finding]:
    """What ONNX's own inference refuses.

    It refuses operators that mix types, and shapes that are not those written down.
    """
    from onnx import shape_inference

    try:
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # its errors are classes of a C++ module, without a common base
        detail = next((line for line in str(error).splitlines() if "op_type" in line), str(error))
        yield Finding("type", "model", detail.strip()[:300])
