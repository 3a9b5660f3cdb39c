"""A small network whose activations numpy knows as well, and both engines that it runs in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph

PICTURE = np.random.default_rng(3).standard_normal((2, 3, 6, 6)).astype(np.float32)
KERNEL = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
MATRIX = np.random.default_rng(2).standard_normal((4, 5)).astype(np.float32)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """(2, 3, 6, 6), what the network takes."""
    return PICTURE


@pytest.fixture
def graph(tmp_path: Path) -> FloatGraph:
    """A convolution, its channels last, and a linear layer; weights in a file beside the graph."""
    from onnx import TensorProto, helper, shape_inference

    nodes = [
        helper.make_node(
            "Conv", ["picture", "first.weight"], ["map"], name="map", pads=[1, 1, 1, 1]
        ),
        helper.make_node("Transpose", ["map"], ["rows"], name="rows", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["rows", "second.weight"], ["result"], name="result"),
    ]
    tensors = []
    position = 0
    with (tmp_path / "small.bin").open("wb") as file:
        for name, values in (("first.weight", KERNEL), ("second.weight", MATRIX)):
            tensor = TensorProto(
                name=name, data_type=TensorProto.FLOAT, dims=values.shape, data_location=1
            )
            for key, value in (
                ("location", "small.bin"),
                ("offset", position),
                ("length", values.nbytes),
            ):
                tensor.external_data.add(key=key, value=str(value))
            file.write(values.tobytes())
            position += values.nbytes
            tensors.append(tensor)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("picture", PICTURE.shape), ("result", (2, 6, 6, 5)))
    ]
    body = helper.make_graph(nodes, "small", values[:1], values[1:], tensors)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "small.onnx").write_bytes(shape_inference.infer_shapes(model).SerializeToString())
    return FloatGraph(tmp_path / "small.onnx")


@pytest.fixture
def rows(graph: FloatGraph) -> np.ndarray:
    """What the linear layer reads, (2, 6, 6, 4), computed without taps."""
    import onnxruntime
    from onnx import TensorProto, helper, load_model

    model = load_model(graph.path)
    model.graph.output.append(
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, (2, 6, 6, 4))
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(["rows"], {"picture": PICTURE})[0])


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(
    request: pytest.FixtureRequest, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Either engine; OpenVINO serves where ONNX Runtime cannot be imported."""
    assert rows.size  # computed before: by ONNX Runtime
    if request.param == "openvino":
        pytest.importorskip("openvino")
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    return str(request.param)
