"""Fixtures of the runtime's tests.

The doubles of CUDA, TensorRT and ONNX Runtime's GPU providers, small networks.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.manifests import edit_manifest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.engine.cuda import open_cuda
from echoexport.runtime.engine.ort_gpu import OrtGpuEngine
from echoexport.runtime.engine.ort_providers import CUDA_PROVIDER, TENSORRT_PROVIDER
from echoexport.runtime.engine.protocol import EngineOptions

FAKES = Path(__file__).parent.parent / "fakes"
ORT_GPU = {"ort_cuda": CUDA_PROVIDER, "ort_tensorrt": TENSORRT_PROVIDER}


def load_fake(name: str) -> Any:
    """A module of tests/fakes, the same at every call."""
    key = f"echoexport_tests_{name}"
    if key not in sys.modules:
        found = importlib.util.spec_from_file_location(key, FAKES / f"{name}.py")
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[key] = module
        found.loader.exec_module(module)
    return sys.modules[key]


@pytest.fixture
def fakes() -> Any:
    """The module of the fake TensorRT's runtime: ``write_plan``, ``install``."""
    return load_fake("fake_tensorrt_runtime")


@pytest.fixture
def cuda_errors() -> Any:
    """CUDA's error codes."""
    return load_fake("fake_cuda").Error


@pytest.fixture
def make_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function that puts a fake CUDA in the process's place.

    Its settings are those of ``FakeCuda``.
    """
    module = load_fake("fake_cuda")

    def make(**settings: Any) -> Any:
        open_cuda.cache_clear()
        return module.install(monkeypatch, module.FakeCuda(**settings))

    yield make
    open_cuda.cache_clear()


@pytest.fixture
def cuda(make_cuda: Callable[..., Any]) -> Any:
    """A fake GPU with a driver."""
    return make_cuda()


@pytest.fixture
def make_tensorrt(monkeypatch: pytest.MonkeyPatch, cuda: Any, fakes: Any) -> Callable[..., Any]:
    """A function that installs a fake TensorRT of a version, with faults, on the fake GPU."""

    def make(version: str = "10.3", *faults: str) -> Any:
        return fakes.install(monkeypatch, version, cuda, faults=faults)

    return make


@pytest.fixture(scope="session")
def small_graph(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Path, SubnetSpec]]:
    """A function that gives a network of two inputs and outputs in a dtype.

    The outputs are noise - reference and noise * reference.
    """

    def make(dtype: str = "float32") -> tuple[Path, SubnetSpec]:
        from onnx import TensorProto, helper, save_model

        kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[dtype]
        names = ("noise", "reference", "difference", "product")
        values = {name: helper.make_tensor_value_info(name, kind, [1, 4]) for name in names}
        nodes = [
            helper.make_node("Sub", ["noise", "reference"], ["difference"]),
            helper.make_node("Mul", ["noise", "reference"], ["product"]),
        ]
        inputs, outputs = ([values[name] for name in half] for half in (names[:2], names[2:]))
        model = helper.make_model(
            helper.make_graph(nodes, "small", inputs, outputs),
            opset_imports=[helper.make_opsetid("", 17)],
        )
        model.ir_version = 8
        path = tmp_path_factory.mktemp("small") / f"{dtype}.onnx"
        save_model(model, path)
        tensors = [TensorSpec(name, dtype, (("batch", 1), ("width", 4))) for name in names]
        return path, SubnetSpec("small", tuple(tensors[:2]), tuple(tensors[2:]), TOLERANCES)

    return make


@pytest.fixture
def make_ort(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that puts a fake ONNX Runtime in the process's place.

    Its settings are those of ``install``.
    """
    pytest.importorskip("onnxruntime")
    return functools.partial(load_fake("fake_ort_gpu").install, monkeypatch)


@pytest.fixture(params=sorted(ORT_GPU))
def gpu_backend(request: pytest.FixtureRequest) -> str:
    """The name of each of ONNX Runtime's GPU backends."""
    return str(request.param)


@pytest.fixture
def gpu_provider(gpu_backend: str) -> str:
    """What ONNX Runtime calls the provider of ``gpu_backend``."""
    return ORT_GPU[gpu_backend]


@pytest.fixture
def open_ort() -> Callable[..., OrtGpuEngine]:
    """A function that opens a network on one of ONNX Runtime's GPU backends."""

    def run(name: str, graph: tuple[Path, SubnetSpec], **options: Any) -> OrtGpuEngine:
        engine = load_backend(name).open(*graph, EngineOptions(**options))
        assert isinstance(engine, OrtGpuEngine)
        return engine

    return run


def describe_arithmetic(dtype: str = "float32", *, precision: str = "") -> SubnetSpec:
    values = [
        TensorSpec(name, dtype, (("batch", 1), ("width", 4)))
        for name in ("left", "right", "difference", "product")
    ]
    return SubnetSpec("arithmetic", tuple(values[:2]), tuple(values[2:]), TOLERANCES, precision)


@pytest.fixture
def arithmetic_spec() -> Callable[..., SubnetSpec]:
    """A function that describes the network of ``arithmetic_graph`` in a dtype and a precision."""
    return describe_arithmetic


@pytest.fixture(params=["float32", "float16"])
def arithmetic_graph(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, SubnetSpec]:
    """left - right and left * right, outputs in another order than the spec's."""
    from onnx import TensorProto, helper, save_model

    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[request.param]
    values = {
        n: helper.make_tensor_value_info(n, kind, [1, 4])
        for n in ("left", "right", "difference", "product")
    }
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"], name="sub"),
        helper.make_node("Mul", ["left", "right"], ["product"], name="mul"),
    ]
    body = helper.make_graph(
        nodes,
        "arithmetic",
        [values["left"], values["right"]],
        [values["product"], values["difference"]],
    )
    path = tmp_path / "arithmetic.onnx"
    save_model(
        helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path
    )
    return path, describe_arithmetic(request.param)


@pytest.fixture(scope="session")
def make_reference() -> Callable[..., dict[str, np.ndarray]]:
    """A function that draws ``size`` keys and as many features of a portrait from a seed."""

    def make(seed: int, size: int = 1000) -> dict[str, np.ndarray]:
        numbers = np.random.default_rng(seed)
        return {
            "down_blocks.0/key": numbers.standard_normal((1, size // 10, 10)).astype(np.float16),
            "face_feature": numbers.standard_normal((1, size)).astype(np.float32),
        }

    return make


@pytest.fixture(scope="session")
def contents() -> Callable[[dict[str, np.ndarray] | None], Any]:
    """A function that makes arrays by name comparable: order, types, shapes and every bit."""

    def describe(arrays: dict[str, np.ndarray] | None) -> Any:
        if arrays is None:
            return None
        return [(name, array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()]

    return describe


@pytest.fixture
def compiled(compile_null: Callable[..., Any]) -> Path:
    """The null bundle, compiled."""
    output: Path = compile_null()[0].output
    return output


@pytest.fixture
def change_compiled(compiled: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A function that lets another change the compiled bundle's manifest, as JSON."""

    def apply(alter: Callable[[dict[str, Any]], None]) -> Path:
        edit_manifest(compiled, alter)
        return compiled

    return apply


@pytest.fixture(scope="session")
def norm_graph() -> Callable[..., bytes]:
    """A function that gives a graph with a norm of so many groups, as ONNX writes it."""

    def write(groups: int, *, scale: float = 1.0) -> bytes:
        """conv, a norm over groups as the export writes it, conv: 4 channels of 6x5."""
        from onnx import TensorProto, helper, numpy_helper

        draw = np.random.default_rng(5)
        constants = {
            "weight": draw.standard_normal((4, 4, 3, 3)).astype(np.float32),
            "grouped": np.array([2, groups, -1]),
            "ones": np.full(groups, scale, np.float32),
            "zeros": np.zeros(groups, np.float32),
            "map": np.array([2, 4, 6, 5]),
            "gain": draw.standard_normal((4, 1, 1)).astype(np.float32),
        }
        pads = {"pads": [1, 1, 1, 1]}
        nodes = [
            helper.make_node("Conv", ["x", "weight"], ["a"], **pads),
            helper.make_node("Reshape", ["a", "grouped"], ["b"]),
            helper.make_node("InstanceNormalization", ["b", "ones", "zeros"], ["c"], epsilon=1e-5),
            helper.make_node("Reshape", ["c", "map"], ["d"]),
            helper.make_node("Mul", ["d", "gain"], ["e"]),
            helper.make_node("Conv", ["e", "weight"], ["y"], **pads),
        ]
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 6, 5])
            for name in ("x", "y")
        ]
        tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        body = helper.make_graph(nodes, "norms", values[:1], values[1:], tensors)
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return bytes(model.SerializeToString())

    return write
