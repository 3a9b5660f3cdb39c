"""A network that is run for its taps, by either engine, in no more memory than one activation."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.observing.taps import (
    find_activations,
    tap_maxima,
)
from echoexport.runtime.errors import (
    BackendError,
    CalibrationError,
    MissingPackageError,
)

pytest.importorskip("onnxruntime")


@pytest.mark.usefixtures("engine")
def test_maxima_are_those_of_each_channel(
    graph: FloatGraph, rows: np.ndarray, picture: np.ndarray
) -> None:
    taps = [tap_maxima(one) for one in find_activations(graph).values()]
    outputs = TappedNetwork(graph, taps)({"picture": picture})
    np.testing.assert_array_equal(outputs["picture.maxima"], np.abs(picture).max(axis=(0, 2, 3)))
    np.testing.assert_allclose(outputs["rows.maxima"], np.abs(rows).max(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(outputs["rows.sum"], np.abs(rows).sum(), rtol=1e-5)


@pytest.mark.usefixtures("engine")
def test_inputs_that_do_not_fit_are_refused(graph: FloatGraph, picture: np.ndarray) -> None:
    network = TappedNetwork(graph, [tap_maxima(find_activations(graph)["picture"])])
    with pytest.raises(CalibrationError, match="small: a sample does not run"):
        network({"picture": picture[:, :2]})


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


def test_without_either_engine_the_missing_package_is_named(
    graph: FloatGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    taps = [tap_maxima(one) for one in find_activations(graph).values()]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(
        "echoexport.runtime.backends.openvino.open_core",
        Mock(side_effect=MissingPackageError("openvino", extra="openvino", purpose="running")),
    )
    with pytest.raises(MissingPackageError, match=r"looking at activations.*onnxruntime"):
        TappedNetwork(graph, taps)


@pytest.mark.usefixtures("engine")
def test_a_graph_that_an_engine_does_not_take_is_named(graph: FloatGraph) -> None:
    taps = [tap_maxima(one) for one in find_activations(graph).values()]
    graph.model.graph.node[0].op_type = "Convolution"
    with pytest.raises(BackendError, match=r"small\.onnx: (ONNX Runtime|OpenVINO) cannot"):
        TappedNetwork(graph, taps)
