"""Engines: the folder is the list, each one refuses what it cannot do and says what would work."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import list_backends, load_backend
from echoexport.runtime.backends import openvino as openvino_backend
from echoexport.runtime.backends.openvino import OpenVINOEngine
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import (
    BackendError,
    MissingPackageError,
    SettingError,
    UnknownNameError,
)

ENGINES = ("ort", "openvino")
PACKAGES = {"ort": "onnxruntime", "openvino": "openvino"}
AXES = (("batch", 1), ("width", 4))


def spec_of(dtype: str) -> SubnetSpec:
    inputs = (TensorSpec("left", dtype, AXES), TensorSpec("right", dtype, AXES))
    outputs = (TensorSpec("difference", dtype, AXES), TensorSpec("product", dtype, AXES))
    return SubnetSpec("arithmetic", inputs, outputs, TOLERANCES)


@pytest.fixture(scope="module", params=["float32", "float16"])
def graph(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, SubnetSpec]]:
    """left - right and left * right, in one precision."""
    from onnx import TensorProto, helper, save_model

    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[request.param]
    values = {
        n: helper.make_tensor_value_info(n, kind, [1, 4])
        for n in ("left", "right", "difference", "product")
    }
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"]),
        helper.make_node("Mul", ["left", "right"], ["product"]),
    ]
    body = helper.make_graph(
        nodes,
        "arithmetic",
        [values["left"], values["right"]],
        [values["product"], values["difference"]],
    )
    path = tmp_path_factory.mktemp("graph") / "arithmetic.onnx"
    save_model(
        helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path
    )
    yield path, spec_of(request.param)


@pytest.fixture(params=ENGINES)
def backend(request: pytest.FixtureRequest) -> Any:
    found = load_backend(request.param)
    if found.unavailable() is not None:
        pytest.skip(found.unavailable() or "")
    return found


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``import package`` fail as if it were not installed."""
    monkeypatch.setitem(sys.modules, package, None)


def test_the_support_list_is_the_folders_listing() -> None:
    assert {"null", "openvino", "ort"} <= set(list_backends())
    for name in list_backends():
        assert load_backend(name).name == name


def test_an_unknown_backend_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown backend 'openvno'; known: .*Did you mean 'openvino'\?"
    ):
        load_backend("openvno")


@pytest.mark.parametrize("name", ["__init__", "../bundle", "", "null.py"])
def test_what_is_no_backends_name_is_not_imported(name: str) -> None:
    with pytest.raises(UnknownNameError):
        load_backend(name)


@pytest.mark.parametrize("name", ENGINES)
def test_a_backend_whose_library_is_not_installed_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide(PACKAGES[name], monkeypatch)
    extra = rf"pip install 'echoexport\[{PACKAGES[name]}\]'"
    assert extra.replace("\\", "") in (load_backend(name).unavailable() or "")
    with pytest.raises(MissingPackageError, match=extra):
        load_backend(name).open(tmp_path / "graph.onnx", spec_of("float32"), EngineOptions())


def test_every_engine_computes_by_name(backend: Any, graph: tuple[Path, SubnetSpec]) -> None:
    path, spec = graph
    network = Network(spec, backend.open(path, spec, EngineOptions()))
    left = np.array([[1, 2, 3, 4]])
    right = np.array([[4, 3, 2, 1]])
    found = network({"right": right, "left": left})
    np.testing.assert_array_equal(found["difference"], left - right)
    np.testing.assert_array_equal(found["product"], left * right)
    assert {name: array.dtype.name for name, array in found.items()} == {
        t.name: t.dtype for t in spec.outputs
    }
    assert network.precision == {"float32": "fp32", "float16": "fp16"}[spec.inputs[0].dtype]


def test_outputs_of_one_call_survive_the_next(backend: Any, graph: tuple[Path, SubnetSpec]) -> None:
    path, spec = graph
    network = Network(spec, backend.open(path, spec, EngineOptions(threads=1)))
    ones = np.ones((1, 4))
    first = network({"left": ones, "right": ones})
    network({"left": 5 * ones, "right": ones})
    np.testing.assert_array_equal(first["product"], ones)


def test_a_closed_engine_is_refused(backend: Any, graph: tuple[Path, SubnetSpec]) -> None:
    path, spec = graph
    network = Network(spec, backend.open(path, spec, EngineOptions()))
    network.close()
    network.close()
    with pytest.raises(BackendError, match="this engine is closed"):
        network({"left": np.ones((1, 4)), "right": np.ones((1, 4))})


def test_the_null_engine_too_is_refused_once_it_is_closed() -> None:
    engine = load_backend("null").open(Path("graph"), spec_of("float32"), EngineOptions())
    engine.close()
    with pytest.raises(BackendError, match="this engine is closed"):
        engine({})


def test_the_null_engine_gives_zeros_that_nobody_can_spoil() -> None:
    spec = spec_of("float16")
    outputs = load_backend("null").open(Path("graph"), spec, EngineOptions())({})
    assert {name: (a.shape, a.dtype.name) for name, a in outputs.items()} == {
        t.name: (t.shape, t.dtype) for t in spec.outputs
    }
    assert not any(array.any() for array in outputs.values())
    with pytest.raises(ValueError, match="read-only"):
        outputs["product"][:] = 1


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_a_graph_that_is_broken_or_missing_is_refused_with_its_name(
    backend: Any, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        BackendError, match=r"broken\.onnx: .* cannot (load|compile) it: "
    ) as caught:
        backend.open(path, spec_of("float32"), EngineOptions())
    assert "\n" not in str(caught.value)


def test_inputs_that_an_engine_refuses_are_a_backend_error(
    backend: Any, graph: tuple[Path, SubnetSpec]
) -> None:
    path, spec = graph
    engine = backend.open(path, spec, EngineOptions())
    with pytest.raises(BackendError, match=r"failed: ") as caught:
        engine({"left": np.ones((2, 7), np.float32), "no such input": np.ones(1, np.float32)})
    assert "\n" not in str(caught.value)


def test_onnx_runtime_refuses_bf16_and_names_the_backend_that_has_it(
    graph: tuple[Path, SubnetSpec],
) -> None:
    with pytest.raises(
        SettingError, match=r"compute 'bf16': backend 'ort' has fp32 only; 'openvino' has bf16"
    ):
        load_backend("ort").open(*graph, EngineOptions(compute="bf16"))


def test_openvino_refuses_a_precision_it_does_not_know(graph: tuple[Path, SubnetSpec]) -> None:
    with pytest.raises(SettingError, match=r"compute 'int4': backend 'openvino' has fp32, bf16"):
        load_backend("openvino").open(*graph, EngineOptions(compute="int4"))


def test_openvino_refuses_bf16_on_a_cpu_without_it(
    graph: tuple[Path, SubnetSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    core = openvino_backend.open_core()

    class OldCPU:
        """A core whose CPU has no bf16."""

        def get_property(self, device: str, name: str) -> list[str]:
            return [
                capability for capability in core.get_property(device, name) if capability != "BF16"
            ]

    monkeypatch.setattr(openvino_backend, "_CORES", [OldCPU()])
    with pytest.raises(
        SettingError, match=r"compute 'bf16': this CPU has no bf16 instructions; use fp32"
    ):
        load_backend("openvino").open(*graph, EngineOptions(compute="bf16"))


def test_openvino_computes_in_bf16_where_the_cpu_has_it(graph: tuple[Path, SubnetSpec]) -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    engine = load_backend("openvino").open(*graph, EngineOptions(compute="bf16"))
    assert engine.precision == "bf16"


def test_openvino_keeps_compiled_networks_where_it_is_told_to(
    graph: tuple[Path, SubnetSpec], tmp_path: Path
) -> None:
    load_backend("openvino").open(*graph, EngineOptions(cache=tmp_path / "compiled"))
    assert list((tmp_path / "compiled").iterdir())


def test_openvino_does_without_a_cache_that_cannot_be_made(
    graph: tuple[Path, SubnetSpec], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "network"
    with pytest.warns(
        RuntimeWarning, match=r"the engine cache .*/file cannot be made \(Not a directory\)"
    ):
        engine = load_backend("openvino").open(*graph, EngineOptions(cache=cache))
    ones = {tensor.name: np.ones(tensor.shape, tensor.dtype) for tensor in graph[1].inputs}
    assert engine(ones)["product"].tolist() == [[1, 1, 1, 1]]


def test_a_backend_describes_library_and_device_in_one_line(backend: Any) -> None:
    import importlib

    text = backend.describe()
    version = importlib.import_module(PACKAGES[backend.name]).__version__.split("-")[0]
    assert text.startswith(f"{PACKAGES[backend.name]} {version}")
    assert "\n" not in text


def norm_graph(groups: int, *, scale: float = 1.0) -> bytes:
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
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 6, 5]) for name in ("x", "y")
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    body = helper.make_graph(nodes, "norms", values[:1], values[1:], tensors)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def test_openvino_normalizes_a_single_group_in_one_operation_with_the_same_result() -> None:
    openvino = pytest.importorskip("openvino")
    from echoexport.runtime.backends.openvino import merge_single_group_norms

    core = openvino.Core()
    given = np.random.default_rng(1).standard_normal((2, 4, 6, 5)).astype(np.float32)
    plain, merged = (core.read_model(norm_graph(1)) for _ in range(2))
    assert merge_single_group_norms(merged) == 1
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    results = [core.compile_model(model, "CPU", config)([given])[0] for model in (plain, merged)]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-5)
    kinds = [op.get_type_name() for op in merged.get_ordered_ops()]
    assert kinds.count("MVN") == 1


@pytest.mark.parametrize(
    "graph", [{"groups": 2}, {"groups": 1, "scale": 2.0}], ids=["two groups", "a scale of two"]
)
def test_openvino_leaves_any_other_norm_as_it_is(graph: dict[str, Any]) -> None:
    openvino = pytest.importorskip("openvino")
    from echoexport.runtime.backends.openvino import merge_single_group_norms

    assert merge_single_group_norms(openvino.Core().read_model(norm_graph(**graph))) == 0


OPEN_TWICE = """
import sys, threading
from pathlib import Path
from echoexport.runtime.backends import EngineOptions, load_backend
from echoexport.runtime.spec import TOLERANCES, SubnetSpec, TensorSpec

values = [(TensorSpec(name, "float32", (("n", 2), ("c", 4), ("h", 6), ("w", 5))),) for name in "xy"]
spec, ready, opened = SubnetSpec("norms", *values, TOLERANCES), threading.Barrier(2), []

def open_it():
    backend = load_backend("openvino")
    ready.wait()
    opened.append(backend.open(Path(sys.argv[1]), spec, EngineOptions()))

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=open_it) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(opened), "opened")
"""


@pytest.mark.slow
def test_two_threads_may_open_the_first_networks_at_once(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "norms.onnx").write_bytes(norm_graph(1))
    for _ in range(
        3
    ):  # in processes of their own: only the first use can hang, and then nothing ends it
        command = [sys.executable, "-c", OPEN_TWICE, str(tmp_path / "norms.onnx")]
        done = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
        assert done.stdout == "2 opened\n"


def test_openvino_runs_as_many_calls_at_once_as_it_is_told(graph: tuple[Path, SubnetSpec]) -> None:
    pytest.importorskip("openvino")
    path, spec = graph
    network = Network(spec, load_backend("openvino").open(path, spec, EngineOptions(streams=3)))
    assert network.streams == 3
    draw = np.random.default_rng(2)
    pairs = [draw.standard_normal((2, 1, 4)).astype(spec.inputs[0].dtype) for _ in range(40)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda pair: network({"left": pair[0], "right": pair[1]}), pairs))
    for pair, result in zip(pairs, results, strict=True):
        np.testing.assert_array_equal(result["difference"], pair[0] - pair[1])
    assert network.calls == 40
    network.close()


def test_a_network_is_called_one_at_a_time_unless_told_otherwise(
    backend: Any, graph: tuple[Path, SubnetSpec]
) -> None:
    path, spec = graph
    assert Network(spec, backend.open(path, spec, EngineOptions())).streams == 1


class CompiledOnce:
    """A compiled model whose requests end when they are told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.outputs: list[Any] = []

    def get_property(self, name: str) -> bool:
        return False

    def create_infer_request(self) -> CompiledOnce:
        return self

    def infer(self, inputs: Any, *, share_inputs: bool) -> dict[int, Any]:
        self.begun.set()
        assert self.end.wait(30)
        return {}


def test_a_call_that_waits_for_a_stream_of_an_openvino_engine_is_refused_when_another_thread_closes_it() -> (
    None
):
    compiled = CompiledOnce()
    asking = threading.Event()
    found = list[Any]()
    engine = OpenVINOEngine(compiled, "fp32")

    def call(asks: threading.Event) -> None:
        asks.set()
        try:
            found.append(engine({}))
        except BackendError as error:
            found.append(str(error))

    threads = [
        threading.Thread(target=call, args=(asks,), daemon=True)
        for asks in (threading.Event(), asking)
    ]
    threads[0].start()
    assert compiled.begun.wait(30)
    threads[1].start()
    assert asking.wait(30)
    engine.close()
    compiled.end.set()
    for thread in threads:
        thread.join(5)
    assert sorted(found, key=str) == ["this engine is closed", {}]
