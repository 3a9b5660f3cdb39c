"""Small graphs written by hand, and a way to run what only ONNX Runtime's CUDA provider runs."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from echoexport.export.ort_cuda.edited_graph import EditedGraph

FAKES = Path(__file__).parent.parent.parent / "fakes"
KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bool": TensorProto.BOOL}

Arrays = dict[str, np.ndarray]


class Sketch:
    """A graph with static shapes, written node by node.

    Every value is called as it is told, or numbered.
    """

    def __init__(self, dtype: str = "float32", *, seed: int = 0) -> None:
        self.dtype = dtype
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self.values: dict[str, tuple[int, ...]] = {}  # shapes that onnx cannot infer

    def input(self, *shape: int, name: str = "", dtype: str = "") -> str:
        name = name or f"in{len(self._inputs)}"
        self._inputs.append(
            helper.make_tensor_value_info(name, KINDS[dtype or self.dtype], list(shape))
        )
        return name

    def weight(self, *shape: int, name: str = "") -> str:
        return self.constant(0.5 * self.random.standard_normal(shape).astype(self.dtype), name)

    def constant(self, values: Any, name: str = "") -> str:
        name = name or f"constant{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, self.dtype))

    def add(
        self, operator: str, *inputs: str, name: str = "", outputs: int = 1, **attributes: Any
    ) -> str:
        """The first output's name; the others are called ``NAME.1`` and so on."""
        name = name or f"value{len(self.nodes)}"
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return name

    def reshape(self, value: str, *shape: int, name: str = "") -> str:
        return self.add("Reshape", value, self.integers(*shape), name=name)

    def norm(
        self, value: str, shape: Sequence[int], *, groups: int, silu: bool = False, name: str = ""
    ) -> str:
        """A group norm of a map as the export writes it."""
        grouped = self.reshape(value, shape[0], groups, -1)
        ones, zeros = (self.constant(np.full(groups, fill, self.dtype)) for fill in (1, 0))
        normal = self.add("InstanceNormalization", grouped, ones, zeros, epsilon=1e-5)
        back = self.reshape(normal, *shape)
        gain, shift = (self.reshape(self.weight(shape[1]), shape[1], 1, 1) for _ in range(2))
        shifted = self.add("Add", self.add("Mul", back, gain), shift, name="" if silu else name)
        if not silu:
            return shifted
        return self.add("Mul", shifted, self.add("Sigmoid", shifted), name=name)

    def biased(self, *shape: int) -> str:
        """An input of this shape plus a vector over its last axis."""
        return self.add("Add", self.input(*shape), self.weight(shape[-1]))

    def finish(self, *outputs: str) -> onnx.ModelProto:
        """The model of outputs that are copied: the values themselves are not given out."""
        return self.model(*(self.add("Identity", name) for name in outputs))

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The model, its shapes inferred."""
        given = [
            helper.make_tensor_value_info(name, KINDS[self.dtype], self.values.get(name))
            for name in outputs
        ]
        graph = helper.make_graph(
            self.nodes, "sketch", self._inputs, given, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        kind = KINDS[self.dtype]
        graph.value_info.extend(
            helper.make_tensor_value_info(name, kind, sh) for name, sh in self.values.items()
        )
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


@pytest.fixture
def sketch() -> type[Sketch]:
    """The class of graphs that are written node by node."""
    return Sketch


@pytest.fixture(scope="session")
def with_plain_operators() -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """A function that writes a graph for the CUDA provider in operators that the CPU's has."""
    key = "echoexport_tests_fake_cuda_operators"
    if key not in sys.modules:
        found = importlib.util.spec_from_file_location(key, FAKES / "fake_cuda_operators.py")
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[key] = module
        found.loader.exec_module(module)
    return sys.modules[key].with_plain_operators  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def run_graph(
    with_plain_operators: Callable[[onnx.ModelProto], onnx.ModelProto],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Arrays]:
    """A function that runs a graph, also one for the CUDA provider, on the CPU.

    Weights beside it lie in ``folder``.
    """
    ort = pytest.importorskip("onnxruntime")

    def run(model: onnx.ModelProto, inputs: Arrays, *, folder: Path | None = None) -> Arrays:
        path = (folder or tmp_path_factory.mktemp("graph")) / "run.onnx"
        path.write_bytes(with_plain_operators(model).SerializeToString())
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


@pytest.fixture(scope="session")
def largest_error() -> Callable[[Arrays, Arrays], float]:
    """The largest difference of any output, over that output's largest wanted value.

    Infinite where shapes differ.
    """

    def error(found: Arrays, wanted: Arrays) -> float:
        pairs = [
            (np.asarray(found[name], np.float64), values.astype(np.float64))
            for name, values in wanted.items()
        ]
        if any(one.shape != other.shape for one, other in pairs):
            return float("inf")
        return float(
            np.max(
                [np.abs(one - other).max() / max(np.abs(other).max(), 1e-9) for one, other in pairs]
            )
        )

    return error


@pytest.fixture
def rewritten(run_graph: Any, largest_error: Any) -> Callable[..., tuple[Counter[str], float]]:
    """A function of a model and a rewriting of its graph.

    The operators that it then has, and how far it is off.
    """

    def rewrite(model: onnx.ModelProto, *ways: Callable[[EditedGraph], None], seed: int = 1) -> Any:
        random = np.random.default_rng(seed)
        inputs = {}
        for value in model.graph.input:
            kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            shape = [side.dim_value for side in value.type.tensor_type.shape.dim]
            inputs[value.name] = random.standard_normal(shape).astype(kind)
        wanted = run_graph(model, inputs)
        graph = EditedGraph(model)
        for way in ways:
            way(graph)
            graph.index()
        result = graph.finish()
        onnx.checker.check_model(result)
        return Counter(node.op_type for node in result.graph.node), largest_error(
            run_graph(result, inputs), wanted
        )

    return rewrite
