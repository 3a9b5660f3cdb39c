"""Small outputs beside an activation say what numpy says of the whole of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.observing.taps import (
    add_taps,
    find_activations,
    tap_histogram,
    tap_maxima,
    tap_rows,
)
from echoexport.runtime.errors import CalibrationError, GraphError

pytest.importorskip("onnxruntime")

PICTURE = np.random.default_rng(3).standard_normal((2, 3, 6, 6)).astype(np.float32)
KERNEL = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
MATRIX = np.random.default_rng(2).standard_normal((4, 5)).astype(np.float32)


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


def test_activations_are_what_layers_read_with_their_channel_axis(graph: FloatGraph) -> None:
    found = find_activations(graph)
    assert [(one.value, one.shape, one.axis, one.layers) for one in found.values()] == [
        ("picture", (2, 3, 6, 6), 1, ("first",)),
        ("rows", (2, 6, 6, 4), 3, ("second",)),
    ]
    assert list(find_activations(graph, ["rows"])) == ["rows"]


def test_a_value_that_no_layer_reads_can_be_asked_for_and_an_unknown_one_is_refused(
    graph: FloatGraph,
) -> None:
    found = find_activations(graph, ["map"])["map"]
    assert (found.axis, found.channels, found.layers) == (1, 4, ())
    with pytest.raises(CalibrationError, match="small: no value is called 'nap'"):
        find_activations(graph, ["nap"])


def test_a_graph_without_shapes_is_refused(graph: FloatGraph) -> None:
    del graph.model.graph.value_info[:]
    with pytest.raises(GraphError, match="shape of 'rows' is not known"):
        find_activations(graph)


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


@pytest.mark.usefixtures("engine")
def test_maxima_are_those_of_each_channel(graph: FloatGraph, rows: np.ndarray) -> None:
    taps = [tap_maxima(one) for one in find_activations(graph).values()]
    outputs = TappedNetwork(graph, taps)({"picture": PICTURE})
    np.testing.assert_array_equal(outputs["picture.maxima"], np.abs(PICTURE).max(axis=(0, 2, 3)))
    np.testing.assert_allclose(outputs["rows.maxima"], np.abs(rows).max(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(outputs["rows.sum"], np.abs(rows).sum(), rtol=1e-5)


@pytest.mark.usefixtures("engine")
def test_histograms_count_every_value_once(graph: FloatGraph) -> None:
    tap = tap_histogram(find_activations(graph)["picture"], amax=2.0, bins=16, most=10**6)
    found = TappedNetwork(graph, [tap])({"picture": PICTURE})["picture.histogram"]
    clipped = np.minimum(np.abs(PICTURE), np.nextafter(np.float32(2), np.float32(0)))
    np.testing.assert_array_equal(found, np.histogram(clipped, 16, (0, 2))[0])


@pytest.mark.usefixtures("engine")
def test_histograms_are_of_the_divided_channels(graph: FloatGraph, rows: np.ndarray) -> None:
    factors = np.array([1, 2, 4, 8], np.float32)
    tap = tap_histogram(
        find_activations(graph)["rows"], amax=50.0, bins=20, most=10**6, factors=factors
    )
    found = TappedNetwork(graph, [tap])({"picture": PICTURE})["rows.histogram"]
    assert np.abs(found - np.histogram(np.abs(rows / factors), 20, (0, 50))[0]).sum() <= 2


@pytest.mark.usefixtures("engine")
def test_rows_are_rows_of_the_activation(graph: FloatGraph, rows: np.ndarray) -> None:
    tap = tap_rows(find_activations(graph)["rows"], most=10)
    found = TappedNetwork(graph, [tap])({"picture": PICTURE})["rows.rows"]
    assert 1 < len(found) <= 10
    for row in found:
        assert np.isclose(rows.reshape(-1, 4), row, rtol=1e-4, atol=1e-5).all(axis=1).sum() == 1


@pytest.mark.usefixtures("engine")
def test_inputs_that_do_not_fit_are_refused(graph: FloatGraph) -> None:
    network = TappedNetwork(graph, [tap_maxima(find_activations(graph)["picture"])])
    with pytest.raises(CalibrationError, match="small: a sample does not run"):
        network({"picture": PICTURE[:, :2]})


def test_a_large_activation_is_counted_at_every_nth_value_of_all_channels(
    graph: FloatGraph,
) -> None:
    tap = tap_histogram(find_activations(graph)["picture"], amax=5.0, bins=8, most=100)
    found = TappedNetwork(graph, [tap])({"picture": PICTURE})["picture.histogram"]
    assert 30 <= found.sum() <= 100
    one_channel = np.zeros_like(PICTURE)
    one_channel[:, 1] = 4.9
    counted = TappedNetwork(graph, [tap])({"picture": one_channel})["picture.histogram"]
    assert counted[-1] == pytest.approx(found.sum() / 3, abs=2)


def test_taps_stand_right_behind_the_producer_and_are_the_only_outputs(graph: FloatGraph) -> None:
    model = add_taps(graph, [tap_maxima(one) for one in find_activations(graph).values()])
    order = [node.name for node in model.graph.node]
    assert order.index("rows") < order.index("rows.maxima") < order.index("result")
    assert {output.name for output in model.graph.output} == {
        "picture.maxima",
        "picture.sum",
        "rows.maxima",
        "rows.sum",
    }
    assert [output.name for output in graph.model.graph.output] == ["result"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_tapped_activations(tmp_path: Path) -> None:
    import subprocess

    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    result = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(result.stdout) < 700, result.stdout


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.observing.taps import find_activations, tap_maxima
from echoexport.profiles.measuring.clip_run import find_peak_memory
shape = (1, 1 << 20, 8)
weight = np.eye(8, dtype=np.float32)
nodes = []
tensors = []
values = []
for index in range(40):
    tensors.append(numpy_helper.from_array(weight, f"l{index}.weight"))
    inputs = [f"v{index}", f"l{index}.weight"]
    nodes.append(helper.make_node("MatMul", inputs, [f"v{index + 1}"], name=f"n{index}"))
    values.append(helper.make_tensor_value_info(f"v{index + 1}", TensorProto.FLOAT, shape))
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("v0", "v40")]
body = helper.make_graph(nodes, "chain", ends[:1], ends[1:], tensors, value_info=values[:-1])
model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
path = Path(sys.argv[1]) / "chain.onnx"
path.write_bytes(model.SerializeToString())
graph = FloatGraph(path)
network = TappedNetwork(graph, [tap_maxima(one) for one in find_activations(graph).values()])
network({"v0": np.ones(shape, np.float32)})
print((find_peak_memory() or 0) // 2**20)
"""
