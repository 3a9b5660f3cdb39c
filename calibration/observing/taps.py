"""A network looked into while it runs.

Small outputs are computed beside an activation, so that none leaves the engine.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.runtime.errors import (
    BackendError,
    CalibrationError,
    GraphError,
    MissingPackageError,
)

if TYPE_CHECKING:
    import onnx

_PURPOSE = "looking at activations"


@dataclass(frozen=True)
class Activation:
    """A value of the graph that layers read."""

    value: str
    shape: tuple[int, ...]
    axis: int
    """The axis of its channels: 1 for a Conv, the last for a MatMul."""
    layers: tuple[str, ...]
    """Names of those that read it, in the graph's order; none for a value that only
    other nodes read."""

    @property
    def channels(self) -> int:
        """How many channels."""
        return self.shape[self.axis]


@dataclass(frozen=True)
class Tap:
    """Small outputs computed from a value, right where it is produced."""

    value: str
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and dims of each."""
    nodes: tuple[onnx.NodeProto, ...]
    """They compute the outputs from ``value`` and ``constants``."""
    constants: tuple[onnx.TensorProto, ...]


def find_activations(
    graph: FloatGraph, values: Iterable[str] | None = None
) -> dict[str, Activation]:
    """Activations by value name: those that the graph's layers read, or ``values`` instead.

    They come in the graph's order. ``values`` may name others too, such as what a
    residual Add takes; channels are then on axis 1 of four or five dimensions and on
    the last of fewer.

    Raises:
        CalibrationError: the graph has no such value.
        GraphError: the graph does not say an activation's shape.
    """
    shapes = {
        info.name: tuple(side.dim_value for side in info.type.tensor_type.shape.dim)
        for info in (*graph.model.graph.input, *graph.model.graph.value_info)
    }
    readers: dict[str, list[str]] = {}
    for layer in graph.layers.values():
        readers.setdefault(layer.value, []).append(layer.name)
    produced = {output for node in graph.model.graph.node for output in node.output} | set(shapes)
    found = {}
    for value in readers if values is None else dict.fromkeys(values):
        if value not in produced:
            raise CalibrationError(f"{graph.name}: no value is called {value!r}")
        shape = shapes.get(value, ())
        layers = readers.get(value, [])
        if not shape or min(shape) < 1:
            raise GraphError(
                f"{graph.path}: the shape of {value!r} is not known; export the bundle again"
            )
        by_layer = graph.layers[layers[0]].op == "Conv" if layers else len(shape) > 3
        found[value] = Activation(value, shape, 1 if by_layer else len(shape) - 1, tuple(layers))
    return found


def tap_maxima(activation: Activation) -> Tap:
    """``VALUE.maxima``, (channels,), and ``VALUE.sum``, (), of absolute values.

    The sum is there for what is not finite: a maximum may step over a NaN, a sum does
    not.
    """
    from onnx import helper, numpy_helper

    stem = activation.value
    others = np.array(
        [axis for axis in range(len(activation.shape)) if axis != activation.axis], np.int64
    )
    absolute = f"{stem}.tap.absolute"
    return Tap(
        stem,
        ((f"{stem}.maxima", (activation.channels,)), (f"{stem}.sum", ())),
        (
            helper.make_node("Abs", [stem], [absolute], name=absolute),
            helper.make_node(
                "ReduceMax",
                [absolute, f"{stem}.tap.others"],
                [f"{stem}.maxima"],
                name=f"{stem}.maxima",
                keepdims=0,
            ),
            helper.make_node(
                "ReduceSum", [absolute], [f"{stem}.sum"], name=f"{stem}.sum", keepdims=0
            ),
        ),
        (numpy_helper.from_array(others, f"{stem}.tap.others"),),
    )


def tap_histogram(
    activation: Activation,
    *,
    amax: float,
    bins: int,
    most: int,
    factors: NDArray[np.float32] | None = None,
) -> Tap:
    """``VALUE.histogram``, (bins,) float32: counts of absolute values.

    Bins are equal, from 0 to ``amax``, and the last is open. An activation of more than
    ``most`` values is counted at every n-th of them, n coprime with its size, so that
    every channel and place has its turn. ``factors`` divide the channels (the last
    axis) before.
    """
    from onnx import TensorProto, helper, numpy_helper

    stem = activation.value
    size = math.prod(activation.shape)
    stride = _find_stride(size, most=most)
    count = -(-size // stride)
    constants: dict[str, NDArray[Any]] = {
        "flat": np.array([-1], np.int64),
        "start": np.zeros(1, np.int64),
        "end": np.array([size], np.int64),
        "stride": np.array([stride], np.int64),
        "to_bin": np.array(bins / amax, np.float32),
        "last": np.array(bins - 1, np.float32),
        "none": np.zeros(bins, np.float32),
        "count": np.array([count], np.int64),
    }
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Reshape", ["flat"], {}),
        ("Slice", ["start", "end", "axis", "stride"], {}),
        ("Abs", [], {}),
        ("Mul", ["to_bin"], {}),
        ("Min", ["last"], {}),
        ("Cast", [], {"to": TensorProto.INT64}),
    ]
    constants["axis"] = np.zeros(1, np.int64)
    if factors is not None:
        constants["factors"] = factors.astype(np.float32)
        steps.insert(0, ("Div", ["factors"], {}))
    nodes = []
    last = stem
    for index, (op, others, attributes) in enumerate(steps):
        output = f"{stem}.tap.{index}"
        inputs = [last, *(f"{stem}.tap.{name}" for name in others)]
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        last = output
    one = numpy_helper.from_array(np.ones(1, np.float32))
    ones = f"{stem}.tap.ones"
    nodes.append(
        helper.make_node("ConstantOfShape", [f"{stem}.tap.count"], [ones], name=ones, value=one)
    )
    nodes.append(
        helper.make_node(
            "ScatterElements",
            [f"{stem}.tap.none", last, ones],
            [f"{stem}.histogram"],
            name=f"{stem}.histogram",
            axis=0,
            reduction="add",
        )
    )
    tensors = tuple(
        numpy_helper.from_array(array, f"{stem}.tap.{name}") for name, array in constants.items()
    )
    return Tap(stem, ((f"{stem}.histogram", (bins,)),), tuple(nodes), tensors)


def tap_rows(activation: Activation, *, most: int) -> Tap:
    """``VALUE.rows``, (at most ``most``, channels): vectors along the last axis.

    They are spread evenly over the activation.
    """
    from onnx import helper, numpy_helper

    stem = activation.value
    channels = activation.shape[-1]
    total = math.prod(activation.shape[:-1])
    stride = _find_stride(total, most=most)
    constants = {
        "matrix": np.array([total, channels], np.int64),
        "start": np.zeros(1, np.int64),
        "end": np.array([total], np.int64),
        "axis": np.zeros(1, np.int64),
        "stride": np.array([stride], np.int64),
    }
    matrix = f"{stem}.tap.rows"
    output = f"{stem}.rows"
    between = [f"{stem}.tap.{name}" for name in ("start", "end", "axis", "stride")]
    return Tap(
        stem,
        ((output, (-(-total // stride), channels)),),
        (
            helper.make_node("Reshape", [stem, f"{stem}.tap.matrix"], [matrix], name=matrix),
            helper.make_node("Slice", [matrix, *between], [output], name=output),
        ),
        tuple(
            numpy_helper.from_array(array, f"{stem}.tap.{name}")
            for name, array in constants.items()
        ),
    )


def add_taps(graph: FloatGraph, taps: Iterable[Tap]) -> onnx.ModelProto:
    """A copy of the graph whose only outputs are those of the taps; weights stay where they are."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    nodes = list(model.graph.node)
    by_value: dict[str, list[onnx.NodeProto]] = {}
    del model.graph.output[:]
    for tap in taps:
        by_value.setdefault(tap.value, []).extend(tap.nodes)
        model.graph.initializer.extend(tap.constants)
        model.graph.output.extend(
            helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in tap.outputs
        )
    # right behind the producer: an engine that goes by this order then holds no
    # activation for its tap alone
    ordered = [node for value in graph.model.graph.input for node in by_value.get(value.name, ())]
    for node in nodes:
        ordered += [node, *(piece for output in node.output for piece in by_value.get(output, ()))]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


class TappedNetwork:
    """A network that gives its taps in place of its outputs.

    It runs in ONNX Runtime on the CPU, or in OpenVINO where that is missing. ONNX
    Runtime reads the weights where they lie; OpenVINO needs a second name for (or a
    copy of) their file.

    Raises:
        MissingPackageError: neither engine is installed.
        BackendError: the engine does not take the graph.
    """

    def __init__(self, graph: FloatGraph, taps: Iterable[Tap], *, threads: int = 0) -> None:
        self._name = graph.name
        model = add_taps(graph, taps)
        try:
            import onnxruntime  # noqa: F401
        except ImportError:
            self._run = _open_openvino(graph, model, threads=threads)
        else:
            self._run = _open_onnxruntime(graph, model, threads=threads)

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The taps' outputs by name.

        Raises:
            CalibrationError: the engine refused the inputs.
        """
        try:
            found: dict[str, NDArray[np.float32]] = self._run(dict(inputs))
        except Exception as error:  # engines raise classes of their own, made in C++
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise CalibrationError(f"{self._name}: a sample does not run: {line}") from error
        return found


def _find_stride(size: int, *, most: int) -> int:
    """The step that leaves at most ``most`` of ``size``.

    It is coprime with the size, so that it falls in step with no axis.
    """
    stride = max(1, -(-size // most))
    while math.gcd(stride, size) > 1:
        stride += 1
    return stride


def _open_onnxruntime(graph: FloatGraph, model: onnx.ModelProto, *, threads: int) -> Any:
    import onnxruntime
    from onnx import TensorProto

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Its default order runs taps last, and so holds every activation until then; its
    # arena grows by doubling.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False
    stored = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    ]
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(graph.read(name)) for name in stored]
    if stored:
        options.add_external_initializers(stored, values)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],
        )
    except Exception as error:
        raise BackendError(
            f"{graph.path}: ONNX Runtime cannot load it: {str(error).splitlines()[0][:200]}"
        ) from error
    names = [output.name for output in session.get_outputs()]

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        assert values is not None  # the session reads these in place
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def _open_openvino(graph: FloatGraph, model: onnx.ModelProto, *, threads: int) -> Any:
    try:
        from echoexport.runtime.backends.openvino import open_core

        core = open_core()
    except MissingPackageError as error:
        raise MissingPackageError("onnxruntime", extra="onnxruntime", purpose=_PURPOSE) from error
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        **({"INFERENCE_NUM_THREADS": str(threads)} if threads else {}),
    }
    weights = graph.path.with_suffix(".bin")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if weights.exists():
            _bring_file(weights, folder / weights.name)
        (folder / "tapped.onnx").write_bytes(model.SerializeToString())
        try:
            compiled = core.compile_model(str(folder / "tapped.onnx"), "CPU", config)
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            raise BackendError(f"{graph.path}: OpenVINO cannot compile it: {line}") from error
    names = [output.get_any_name() for output in compiled.outputs]

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        results = compiled(inputs)
        return {name: np.array(results[index]) for index, name in enumerate(names)}

    return run


def _bring_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
