"""A network whose layers are quantized or not from call to call.

It shows what a layer costs without a compilation for each.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph, Layer
from echoexport.calibration.plan import LEVELS, LayerPlan, NetworkPlan
from echoexport.runtime.engine.processor import count_cores
from echoexport.runtime.errors import BackendError, MissingPackageError

if TYPE_CHECKING:
    import onnx

_PREFIX = "switch."


class SwitchableNetwork:
    """An fp32 graph in ONNX Runtime whose layers can be switched to int8 and back.

    The layers are those of a plan. The arithmetic of int8 is simulated: rounded to its
    255 levels and back, then computed in float, which differs from an engine's by the
    order of additions alone. A context manager; ``folder`` holds the graph while it is
    open.
    """

    def __init__(
        self, graph: FloatGraph, plan: NetworkPlan, *, folder: Path, threads: int = 0
    ) -> None:
        """``graph`` has the plan's smoothing applied already.

        Raises:
            MissingPackageError: onnxruntime is not installed.
            BackendError: ONNX Runtime does not load the graph.
        """
        self.layers = tuple(name for name, layer in plan.layers.items() if layer.mode != "float")
        self._path = folder / f"{graph.name}.switches.onnx"
        _bring_weights(graph, folder)
        self._path.write_bytes(add_switches(graph, plan).SerializeToString())
        self._session = open_inference(self._path, threads=threads)
        self._outputs = [value.name for value in self._session.get_outputs()]

    def __call__(
        self, inputs: Mapping[str, NDArray[np.float32]], *, quantized: Collection[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Run once with these layers in int8, all others in float."""
        on = set(quantized)
        switches = {f"{_PREFIX}{name}": np.array([name in on]) for name in self.layers}
        return dict(
            zip(
                self._outputs, self._session.run(self._outputs, {**inputs, **switches}), strict=True
            )
        )

    def close(self) -> None:
        """Give the engine's memory back and remove its files."""
        self._session = None
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> SwitchableNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def add_switches(graph: FloatGraph, plan: NetworkPlan) -> onnx.ModelProto:
    """A copy of the graph with a switch for each layer that the plan quantizes.

    A switch is an input ``switch.LAYER``, (1,) bool.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    nodes = {node.name: node for node in model.graph.node}
    added: dict[str, list[onnx.NodeProto]] = {}
    for name, layer_plan in plan.layers.items():
        if layer_plan.mode == "float":
            continue
        layer = graph.layers[name]
        before, constants = _switch_layer(graph, layer, layer_plan)
        reader = nodes[layer.node]
        reader.input[1] = f"{name}.switched_weight"
        if layer_plan.mode == "int8":
            reader.input[0] = f"{name}.switched_value"
        added[layer.node] = before
        model.graph.initializer.extend(constants)
        model.graph.input.append(
            helper.make_tensor_value_info(f"{_PREFIX}{name}", TensorProto.BOOL, [1])
        )
    ordered = [piece for node in model.graph.node for piece in (*added.get(node.name, ()), node)]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _switch_layer(
    graph: FloatGraph, layer: Layer, plan: LayerPlan
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes before the layer's own, and the constants they read."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    weights = np.asarray(graph.read(layer.weight), np.float32)
    others = tuple(axis for axis in range(weights.ndim) if axis != layer.channel_axis)
    scales = {"weight": _to_scale(np.abs(weights).max(axis=others))}
    if plan.mode == "int8":
        scales["value"] = _to_scale(np.asarray(plan.amax, np.float32))
    for kind, scale in scales.items():
        more, read = _switch_input(layer, kind, scale)
        nodes += more
        constants += read
    return nodes, constants


def _switch_input(
    layer: Layer, kind: str, scale: NDArray[np.float32]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Q/DQ on a layer's "weight" or "value", and the choice between it and the float one."""
    from onnx import helper, numpy_helper

    source = layer.weight if kind == "weight" else layer.value
    stem = f"{layer.name}.{kind}"
    small = f"{stem}_q"
    back = f"{stem}_dq"
    chosen = f"{layer.name}.switched_{kind}"
    quantizer = [f"{stem}_scale", f"{stem}_zero"]
    axis: dict[str, Any] = {"axis": layer.channel_axis} if scale.ndim else {}
    switch = [f"{_PREFIX}{layer.name}", back, source]
    nodes = [
        helper.make_node("QuantizeLinear", [source, *quantizer], [small], name=small, **axis),
        helper.make_node("DequantizeLinear", [small, *quantizer], [back], name=back, **axis),
        helper.make_node("Where", switch, [chosen], name=chosen),
    ]
    constants = [
        numpy_helper.from_array(scale, quantizer[0]),
        numpy_helper.from_array(np.zeros(scale.shape, np.int8), quantizer[1]),
    ]
    return nodes, constants


def _to_scale(amax: NDArray[np.float32]) -> NDArray[np.float32]:
    """The step of symmetric int8; 1 for a channel that is zero throughout."""
    scale: NDArray[np.float32] = np.where(
        amax > 0, amax / np.float32(LEVELS), np.float32(1)
    ).astype(np.float32)
    return scale


def _bring_weights(graph: FloatGraph, folder: Path) -> None:
    """Put the graph's weights where a graph in ``folder`` finds them.

    They get a second name there, or are copied.
    """
    source = graph.path.with_suffix(".bin")
    target = folder / graph.path.with_suffix(".bin").name
    if not source.exists() or target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def open_inference(path: Path, *, threads: int) -> Any:
    """An ONNX Runtime session that computes what the graph says and folds no weights.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        BackendError: it does not load the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            "onnxruntime", extra="onnxruntime", purpose="measuring layers"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or count_cores()
    # simulate, as the graph says
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        # folding would compute every quantized weight once more and keep both
        return onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],
        )
    except Exception as error:  # the library's errors have no common base
        raise BackendError(
            f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0][:200]}"
        ) from error
