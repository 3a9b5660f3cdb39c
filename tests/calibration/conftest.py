"""Graphs like those of the export, small enough to be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.plan import Smoothing
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec

WIDTH = 8
ROWS = 6
DTYPES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
Node = tuple[str, str, list[str], dict[str, Any]]
"""Its output and name, operator, inputs, attributes."""


class Small:
    """A graph like a transformer block of the export, weights in a file.

    What each test needs is put together of it.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.random = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.external: dict[str, np.ndarray] = {}
        self.inline: dict[str, np.ndarray] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def weigh(self, name: str, *shape: int) -> str:
        self.external[name] = self.random.standard_normal(shape).astype(self.dtype)
        return name

    def fix(self, name: str, *numbers: int) -> str:
        self.inline[name] = np.array(numbers, np.int64)
        return name

    def norm(self, source: str, output: str, *, constants: str = "") -> str:
        stem = constants or output
        for part in ("weight", "bias"):
            if f"{stem}.{part}" not in self.external:
                self.weigh(f"{stem}.{part}", WIDTH)
        return self.add(
            "LayerNormalization", [source, f"{stem}.weight", f"{stem}.bias"], output, axis=-1
        )

    def linear(self, source: str, name: str, *, width: int = WIDTH, wide: int = WIDTH) -> str:
        return self.add(
            "MatMul", [source, self.weigh(f"{name}.weight", width, wide)], f"{name}.out"
        )

    def write(self, path: Path, *outputs: str) -> FloatGraph:
        from onnx import TensorProto, helper, numpy_helper, shape_inference

        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        tensors = [numpy_helper.from_array(array, name) for name, array in self.inline.items()]
        position = 0
        with path.with_suffix(".bin").open("wb") as file:
            for name, values in self.external.items():
                tensor = TensorProto(name=name, data_type=kind, dims=values.shape, data_location=1)
                for key, entry in (
                    ("location", f"{path.stem}.bin"),
                    ("offset", position),
                    ("length", values.nbytes),
                ):
                    tensor.external_data.add(key=key, value=str(entry))
                file.write(values.tobytes())
                position += values.nbytes
                tensors.append(tensor)
        given_ = [helper.make_tensor_value_info("x", kind, (1, ROWS, WIDTH))]
        results = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
        body = helper.make_graph(self.nodes, path.stem, given_, results, tensors)
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        path.write_bytes(shape_inference.infer_shapes(model).SerializeToString())
        return FloatGraph(path)


@pytest.fixture(scope="session")
def make_small() -> Callable[..., Small]:
    """A function that gives an empty graph, to be put together."""
    return Small


@pytest.fixture(scope="session")
def make_block() -> Callable[[Path], FloatGraph]:
    """A function that writes a block with norms, a table and a gated feed-forward."""

    def run(path: Path) -> FloatGraph:
        """Norm, two linears; norm with a table, a linear; a gated feed-forward.

        All but the last sum can be smoothed.
        """
        small = Small()
        normed = small.norm("x", "norm1")
        keys = small.linear(normed, "to_k")
        queries = small.linear(normed, "to_q")
        mixed = small.add("Add", [keys, queries], "mixed")
        normed = small.norm(mixed, "norm2")
        small.weigh("pe", 1, 32, WIDTH)
        table = small.add(
            "Slice",
            ["pe", small.fix("zero", 0), small.fix("rows", ROWS), small.fix("one", 1)],
            "table",
        )
        placed = small.linear(small.add("Add", [normed, table], "placed"), "temporal")
        normed = small.norm(placed, "norm3")
        wide = small.linear(normed, "ff.net.0.proj", wide=4 * WIDTH)
        wide = small.add("Add", [wide, small.weigh("ff.net.0.proj.bias", 4 * WIDTH)], "wide")
        small.fix("middle", 2 * WIDTH), small.fix("end", 4 * WIDTH), small.fix("last", -1)
        half = small.add("Slice", [wide, "zero", "middle", "last", "one"], "half")
        gate = small.add(
            "Gelu", [small.add("Slice", [wide, "middle", "end", "last", "one"], "gating")], "gate"
        )
        inner = small.add("Mul", [half, gate], "inner")
        small.linear(small.linear(inner, "ff.net.2", width=2 * WIDTH), "to_out")
        return small.write(path, "to_out.out")

    return run


@pytest.fixture(scope="session")
def run_graph() -> Callable[[FloatGraph, np.ndarray], np.ndarray]:
    """A function that gives a graph's outputs by ONNX Runtime, all in a row."""

    def run(graph: FloatGraph, x: np.ndarray) -> np.ndarray:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
        return np.concatenate([array.ravel() for array in session.run(None, {"x": x})])

    return run


@pytest.fixture(scope="session")
def draw_factors() -> Callable[[str, int], Smoothing]:
    """A function that gives a value factors, seeded by its name."""

    def run(value: str, width: int) -> Smoothing:
        random = np.random.default_rng(len(value))
        return Smoothing(0.5, tuple(map(float, np.exp(random.uniform(-2, 2, width)))))

    return run


@pytest.fixture(scope="session")
def x_rows() -> np.ndarray:
    """(1, 6, 8), what such a block takes."""
    return np.random.default_rng(7).standard_normal((1, ROWS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., onnx.ModelProto]:
    """A function that gives a graph of values of (4, 8), in one float type."""

    def run(
        nodes: list[Node], constants: Mapping[str, np.ndarray], *, kind: int, output: str = "y"
    ) -> onnx.ModelProto:
        """A graph of values of (4, WIDTH), in one float type."""
        with np.errstate(over="ignore"):
            tensors = [
                numpy_helper.from_array(
                    array.astype(DTYPES[kind]) if array.dtype.kind == "f" else array, name
                )
                for name, array in constants.items()
            ]
        x, y = (helper.make_tensor_value_info(name, kind, [4, WIDTH]) for name in ("x", output))
        body = helper.make_graph(
            [
                helper.make_node(op, inputs, [name], name=name, **rest)
                for name, op, inputs, rest in nodes
            ],
            "sandbox",
            [x],
            [y],
            tensors,
        )
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    return run


@pytest.fixture(scope="session")
def spec_of() -> Callable[[str], SubnetSpec]:
    """A function that gives the contract of such a graph in a type."""

    def run(dtype: str) -> SubnetSpec:
        axes = (("rows", 4), ("width", WIDTH))
        return SubnetSpec(
            "sandbox", (TensorSpec("x", dtype, axes),), (TensorSpec("y", dtype, axes),), TOLERANCES
        )

    return run


@pytest.fixture(scope="session")
def draw_rows() -> Callable[..., np.ndarray]:
    """A function that draws what such a graph takes."""

    def run(scale: float = 1.0) -> np.ndarray:
        """(4, WIDTH), seeded, in numbers that fp16 holds exactly."""
        values = np.random.default_rng(4).standard_normal((4, WIDTH)) * scale
        return values.astype(np.float16).astype(np.float32)

    return run


@pytest.fixture(scope="session")
def run_model() -> Callable[[onnx.ModelProto, np.ndarray], np.ndarray]:
    """A function that runs a model in ONNX Runtime."""

    def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
        """By ONNX Runtime."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        dtype = DTYPES[model.graph.input[0].type.tensor_type.elem_type]
        (found,) = session.run(None, {"x": x.astype(dtype)})
        return np.asarray(found, np.float32)

    return run


@pytest.fixture(scope="session")
def run_literally() -> Callable[[onnx.ModelProto, np.ndarray], np.ndarray]:
    """A function that runs a model as a GPU does, each value in its own type."""

    def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
        """Each value in its own type, as a GPU does it.

        ONNX Runtime's CPU computes fp16 in fp32 and hides overflows.
        """
        from onnx.reference import ReferenceEvaluator

        dtype = DTYPES[model.graph.input[0].type.tensor_type.elem_type]
        with np.errstate(all="ignore"):
            (found,) = ReferenceEvaluator(model).run(None, {"x": x.astype(dtype)})
        return np.asarray(found, np.float32)

    return run


@pytest.fixture(scope="session")
def grown() -> list[Node]:
    """An activation of 1e5, a sum of it, and the way back to 1.

    The neighbours in between are in fp16's range.
    """
    return [
        ("small", "Mul", ["x", "half"], {}),
        ("grown", "MatMul", ["small", "weight"], {}),
        ("sum", "Add", ["grown", "offset"], {}),
        ("seen", "Reshape", ["sum", "shape"], {}),
        ("shrunk", "Mul", ["seen", "little"], {}),
        ("y", "Add", ["shrunk", "small"], {}),
    ]


@pytest.fixture(scope="session")
def grown_constants() -> Mapping[str, np.ndarray]:
    """The constants of ``grown``."""
    return {
        "half": np.full(1, 0.5, np.float32),
        "weight": np.eye(WIDTH, dtype=np.float32) * 50_000,
        "offset": np.linspace(-20_000, 20_000, WIDTH).astype(np.float32),
        "shape": np.array([4, WIDTH], np.int64),
        "little": np.full(1, 1e-5, np.float32),
    }
