"""ONNX Runtime's GPU backends on a double that claims GPU providers and computes on the CPU, and its faults."""

from __future__ import annotations

import ctypes
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import ort_providers
from echoexport.runtime.backends import EngineOptions, load_backend
from echoexport.runtime.errors import BackendError, MissingPackageError, OutputError, SettingError
from echoexport.runtime.held_arrays import freeze
from echoexport.runtime.network import Network
from echoexport.runtime.ort_gpu import OrtGpuEngine
from echoexport.runtime.ort_providers import CPU, CUDA, TENSORRT
from echoexport.runtime.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.trace import Tracer

real = pytest.importorskip("onnxruntime")

AXES = (("batch", 1), ("width", 4))
BACKENDS = {"ort_cuda": CUDA, "ort_tensorrt": TENSORRT}


class DeviceValue:
    """An OrtValue "on the GPU": a numpy array of its own."""

    def __init__(self, shape: list[int], dtype: type) -> None:
        self.array = np.zeros(shape, dtype)
        self.copies = 0

    def update_inplace(self, array: np.ndarray) -> None:
        if array.nbytes != self.array.nbytes:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        self.array[...] = array
        self.copies += 1

    def numpy(self) -> np.ndarray:
        return self.array.copy()


@dataclass
class Fake:
    """What the library pretends, what goes wrong, and what it was asked for."""

    providers: tuple[str, ...] = (TENSORRT, CUDA, CPU)
    gives: tuple[str, ...] | None = None  # providers of a session; None for those asked for
    placement: tuple[tuple[str, tuple[str, ...]], ...] | None = ((CUDA, ("Sub", "Mul")),)
    records: bool = True
    load_error: Callable[[dict[str, str]], str] = lambda options: ""
    run_error: Callable[[dict[str, str]], str] = lambda options: ""
    bind_error: str = ""
    memory_error: str = ""
    asked: list[list[tuple[str, dict[str, str]]]] = field(default_factory=list)
    settings: list[Any] = field(default_factory=list)
    preloaded: int = 0
    disabled: int = 0

    def module(self) -> Any:
        """What ``import onnxruntime`` gives."""
        fake = self

        class OrtValue:
            @staticmethod
            def ortvalue_from_shape_and_type(shape: list[int], dtype: type, device: str, number: int) -> DeviceValue:
                assert (device, number) == ("cuda", 0)
                if fake.memory_error:
                    raise RuntimeError(fake.memory_error)
                return DeviceValue(shape, dtype)

        class Session(FakeSession):
            def __init__(self, path: str, settings: Any, *, providers: list[Any], enable_fallback: int) -> None:
                assert enable_fallback == 0
                super().__init__(fake, path, settings, providers)

        if self.records:
            Session.get_provider_graph_assignment_info = _tell_placement  # type: ignore[attr-defined]

        def preload_dlls() -> None:
            self.preloaded += 1
            print("Failed to load libcufft.so.11: a line that nobody asked for")

        return SimpleNamespace(
            __version__="1.31.1", cuda_version="13.0", OrtValue=OrtValue, InferenceSession=Session,
            SessionOptions=Settings, preload_dlls=preload_dlls, get_available_providers=lambda: list(self.providers),
        )  # fmt: skip


class Settings:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.enable_profiling, self.profile_file_prefix = False, ""

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class FakeSession:
    """Runs the graph with the real library's CPU provider, and claims another one."""

    def __init__(self, fake: Fake, path: str, settings: Any, providers: list[tuple[str, dict[str, str]]]) -> None:
        fake.asked.append(providers)
        fake.settings.append(settings)
        self._fake, self._options, self._settings = fake, providers[0][1], settings
        if text := fake.load_error(self._options):
            raise RuntimeError(text)
        self._real = real.InferenceSession(path, providers=[CPU])
        self._providers = fake.gives if fake.gives is not None else (*(name for name, _ in providers), CPU)

    def get_providers(self) -> list[str]:
        return list(self._providers)

    def disable_fallback(self) -> None:
        self._fake.disabled += 1

    def io_binding(self) -> Any:
        bound: dict[str, dict[str, DeviceValue]] = {"in": {}, "out": {}}

        def bind_input(name: str, value: DeviceValue) -> None:
            if self._fake.bind_error:
                raise RuntimeError(self._fake.bind_error)
            bound["in"][name] = value

        return SimpleNamespace(
            bound=bound, bind_ortvalue_input=bind_input, bind_ortvalue_output=bound["out"].__setitem__,
            synchronize_inputs=lambda: None, synchronize_outputs=lambda: None,
        )  # fmt: skip

    def run_with_iobinding(self, binding: Any) -> None:
        if text := self._fake.run_error(self._options):
            raise RuntimeError(text)
        given = {name: value.array for name, value in binding.bound["in"].items()}
        names = [output.name for output in self._real.get_outputs()]
        for name, array in zip(names, self._real.run(names, given), strict=True):
            binding.bound["out"][name].array[...] = array

    def end_profiling(self) -> str:
        assert self._settings.enable_profiling
        events = [
            {"cat": "Node", "name": f"{kind}_{i}_kernel_time", "args": {"provider": provider, "op_name": kind}}
            for provider, kinds in self._fake.placement or ()
            for i, kind in enumerate(kinds)
        ]
        path = Path(f"{self._settings.profile_file_prefix}_now.json")
        path.write_text(json.dumps([{"cat": "Session", "name": "model_run"}, *events]))
        return str(path)


def _tell_placement(session: FakeSession) -> list[Any]:
    assert session._settings.entries["session.record_ep_graph_assignment_info"] == "1"
    nodes = lambda kinds: [SimpleNamespace(name="", op_type=kind) for kind in kinds]  # noqa: E731
    parts = session._fake.placement or ()
    return [SimpleNamespace(ep_name=name, get_nodes=lambda kinds=kinds: nodes(kinds)) for name, kinds in parts]


class Driver:
    """libcuda.so.1 with so many GPUs."""

    def __init__(self, count: int = 1, *, code: int = 0) -> None:
        self._count, self._code = count, code

    def cuInit(self, flags: int) -> int:  # noqa: N802 - CUDA's name
        return self._code

    def cuDeviceGetCount(self, pointer: Any) -> int:  # noqa: N802
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = self._count
        return 0


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fake]:
    """A function that puts the double in onnxruntime's place, on a machine with a GPU and these libraries missing."""

    def put(*, driver: Driver | None = None, missing: tuple[str, ...] = (), kind: str = "gpu", **pretends: Any) -> Fake:
        fake = Fake(**pretends)
        monkeypatch.setitem(sys.modules, "onnxruntime", fake.module())

        def load(name: str) -> Any:
            if name in missing:
                raise OSError(f"{name}: cannot open shared object file")
            return driver or Driver()

        monkeypatch.setattr(ort_providers, "_load_shared", load)
        device = SimpleNamespace(kind=kind, gpu="NVIDIA A100-SXM4-80GB", model="a server", tensorrt="10.16.2")
        monkeypatch.setattr("echoexport.runtime.device.detect_device", lambda: device)
        return fake

    return put


def spec_of(dtype: str = "float32", *, precision: str = "") -> SubnetSpec:
    inputs = (TensorSpec("left", dtype, AXES), TensorSpec("right", dtype, AXES))
    outputs = (TensorSpec("difference", dtype, AXES), TensorSpec("product", dtype, AXES))
    return SubnetSpec("arithmetic", inputs, outputs, TOLERANCES, precision)


@pytest.fixture(params=["float32", "float16"])
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, SubnetSpec]:
    """left - right and left * right, outputs in another order than the spec's."""
    from onnx import TensorProto, helper, save_model

    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[request.param]
    values = {n: helper.make_tensor_value_info(n, kind, [1, 4]) for n in ("left", "right", "difference", "product")}
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"], name="sub"),
        helper.make_node("Mul", ["left", "right"], ["product"], name="mul"),
    ]
    body = helper.make_graph(
        nodes, "arithmetic", [values["left"], values["right"]], [values["product"], values["difference"]]
    )
    path = tmp_path / "arithmetic.onnx"
    save_model(helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path, spec_of(request.param)


@pytest.fixture(params=sorted(BACKENDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def open_engine(name: str, graph: tuple[Path, SubnetSpec], **options: Any) -> OrtGpuEngine:
    engine = load_backend(name).open(*graph, EngineOptions(**options))
    assert isinstance(engine, OrtGpuEngine)
    return engine


LEFT, RIGHT = np.array([[1, 2, 3, 4]], np.float32), np.array([[4, 3, 2, 1]], np.float32)


def placed(name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ((BACKENDS[name], ("Sub", "Mul")),)


def test_outputs_come_by_name_whatever_their_order(
    install: Callable[..., Fake], name: str, graph: tuple[Path, SubnetSpec]
) -> None:
    install(placement=placed(name))
    engine = open_engine(name, graph)
    network = Network(graph[1], engine)
    found = network({"right": RIGHT, "left": LEFT})
    np.testing.assert_array_equal(found["difference"], LEFT - RIGHT)
    np.testing.assert_array_equal(found["product"], LEFT * RIGHT)
    assert {array.dtype.name for array in found.values()} == {graph[1].inputs[0].dtype}
    assert engine.precision == graph[1].stored
    assert engine.notes == []


def test_outputs_of_one_call_survive_the_next_one(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]) -> None:
    install()
    network = Network(graph[1], open_engine("ort_cuda", graph))
    first = network({"left": LEFT, "right": RIGHT})
    network({"left": 5 * LEFT, "right": RIGHT})
    np.testing.assert_array_equal(first["product"], LEFT * RIGHT)


def test_a_frozen_input_goes_up_once(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]) -> None:
    install()
    engine = open_engine("ort_cuda", graph)
    dtype = graph[1].inputs[0].dtype
    keys = freeze(RIGHT.astype(dtype))
    before = engine.uploaded
    for step in range(3):
        found = engine({"left": (step * LEFT).astype(dtype), "right": keys})
        np.testing.assert_array_equal(found["product"], step * LEFT * RIGHT)
    assert engine.uploaded - before == 3 * keys.nbytes + keys.nbytes


def test_another_portraits_keys_take_the_place_of_the_first(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install()
    engine, dtype = open_engine("ort_cuda", graph), graph[1].inputs[0].dtype
    left = LEFT.astype(dtype)
    for keys in (freeze(RIGHT.astype(dtype)), freeze(7 * RIGHT.astype(dtype)), freeze(RIGHT.astype(dtype))):
        np.testing.assert_array_equal(engine({"left": left, "right": keys})["product"], left * keys)


def test_an_array_that_can_change_is_copied_every_time(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install()
    engine, dtype = open_engine("ort_cuda", graph), graph[1].inputs[0].dtype
    owner = RIGHT.astype(dtype)
    view = owner.view()
    view.setflags(write=False)  # read-only, but its owner is not
    left = LEFT.astype(dtype)
    engine({"left": left, "right": view})
    owner *= 2
    np.testing.assert_array_equal(engine({"left": left, "right": view})["product"], left * owner)


def test_after_a_failed_call_everything_is_copied_again(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    fake = install()
    engine, dtype = open_engine("ort_cuda", graph), graph[1].inputs[0].dtype
    inputs = {"left": freeze(LEFT.astype(dtype)), "right": freeze(RIGHT.astype(dtype))}
    engine(inputs)
    fake.run_error = lambda options: "CUDA failure 700: an illegal memory access was encountered"
    with pytest.raises(BackendError, match="CUDAExecutionProvider failed: CUDA failure 700"):
        engine(inputs)
    fake.run_error, before = (lambda options: ""), engine.uploaded
    np.testing.assert_array_equal(engine(inputs)["product"], LEFT * RIGHT)
    assert engine.uploaded - before == sum(array.nbytes for array in inputs.values())


def test_copies_are_traced(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]) -> None:
    install()
    engine, tracer = open_engine("ort_cuda", graph), Tracer()
    engine.tracer = tracer
    Network(graph[1], engine)({"left": LEFT, "right": RIGHT})
    assert [(span.name, span.category) for span in tracer.spans() if span.category == "copy"] == [
        ("upload", "copy"), ("download", "copy"),
    ]  # fmt: skip


def test_a_closed_gpu_engine_is_refused(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]) -> None:
    install()
    engine = open_engine("ort_cuda", graph)
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="this engine is closed"):
        engine({"left": LEFT, "right": RIGHT})


def test_a_missing_input_and_one_of_another_shape_are_named(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install()
    engine = open_engine("ort_cuda", graph)
    with pytest.raises(BackendError, match="arithmetic: input 'right' is missing"):
        engine({"left": LEFT})
    with pytest.raises(BackendError, match="does not match the size of the OrtValue"):
        engine({"left": np.ones((3, 7), np.float32), "right": RIGHT})


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    install: Callable[..., Fake], name: str, graph: tuple[Path, SubnetSpec]
) -> None:
    install(gives=(CPU,))
    with pytest.raises(BackendError, match=rf"asked for {BACKENDS[name]}, got {CPU}: pip install") as caught:
        open_engine(name, graph)
    assert "\n" not in str(caught.value)


def test_a_fall_back_from_tensorrt_to_cuda_is_an_error_too(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(gives=(CUDA, CPU))
    with pytest.raises(BackendError, match=rf"asked for {TENSORRT}, got {CUDA}, {CPU}"):
        open_engine("ort_tensorrt", graph)


def test_the_librarys_own_fall_back_is_switched_off(
    install: Callable[..., Fake], name: str, graph: tuple[Path, SubnetSpec]
) -> None:
    fake = install(placement=placed(name))
    open_engine(name, graph)
    assert fake.disabled == len(fake.asked) == 1


def test_a_provider_that_claims_the_session_but_runs_nothing_is_an_error(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(placement=((CPU, ("Sub", "Mul")),))
    with pytest.raises(BackendError, match=rf"not one node runs on {CUDA}, all on {CPU}; use backend 'ort'"):
        open_engine("ort_cuda", graph)


@pytest.mark.parametrize("records", [True, False], ids=["recorded", "from a profile"])
def test_nodes_on_the_cpu_are_named_in_the_notes(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec], records: bool
) -> None:
    fake = install(placement=((CUDA, ("Sub", "Sub", "Mul")), (CPU, ("Gelu", "Gelu", "Resize"))), records=records)
    engine = open_engine("ort_cuda", graph)
    assert engine.notes == [f"{CUDA}: 3 of 6 nodes run elsewhere: 2 Gelu on {CPU}, 1 Resize on {CPU}, which is slow"]
    assert fake.settings[-1].enable_profiling is not records


def test_a_profile_leaves_no_files_behind(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]) -> None:
    fake = install(records=False)
    open_engine("ort_cuda", graph)
    assert not Path(fake.settings[-1].profile_file_prefix).parent.exists()


def test_nodes_that_tensorrt_leaves_to_cuda_are_named_without_alarm(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(placement=((TENSORRT, ("Mul",) * 9), (CUDA, ("Sub",))))
    assert open_engine("ort_tensorrt", graph).notes == [f"{TENSORRT}: 1 of 10 nodes run elsewhere: 1 Sub on {CUDA}"]


def test_a_graph_that_cannot_be_recorded_runs_without(
    install: Callable[..., Fake], name: str, graph: tuple[Path, SubnetSpec]
) -> None:
    graphs = ("enable_cuda_graph", "trt_cuda_graph_enable")
    wanted = lambda options: any(options.get(key) == "1" for key in graphs)  # noqa: E731
    fake = install(
        placement=placed(name),
        load_error=lambda options: "cannot use the graph capture feature" if wanted(options) else "",
    )
    engine = open_engine(name, graph)
    assert [wanted(asked[0][1]) for asked in fake.asked] == [True, False]
    (note,) = engine.notes
    assert note.startswith("arithmetic: runs without a CUDA graph: ") and "graph capture feature" in note


def test_a_recording_that_fails_in_the_first_call_is_left_out_as_well(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(run_error=lambda options: "operation not permitted when stream is capturing"
            if options["enable_cuda_graph"] == "1" else "")  # fmt: skip
    engine = open_engine("ort_cuda", graph)
    np.testing.assert_array_equal(Network(graph[1], engine)({"left": LEFT, "right": RIGHT})["product"], LEFT * RIGHT)
    assert len(engine.notes) == 1


def test_without_graphs_none_is_asked_for(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]) -> None:
    fake = install()
    open_engine("ort_cuda", graph, cuda_graph=False)
    assert [asked[0][1]["enable_cuda_graph"] for asked in fake.asked] == ["0"]


@pytest.mark.parametrize(
    "text",
    [
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 2147483648",
        "CUDA failure 2: out of memory ; GPU=0",
    ],
)
def test_out_of_memory_says_what_to_do(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec], text: str) -> None:
    install(run_error=lambda options: text)
    with pytest.raises(BackendError, match=r"out of GPU memory \(.*\); close other programs, raise the memory limit"):
        open_engine("ort_cuda", graph)


def test_memory_that_runs_out_while_inputs_are_bound_says_so_too(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(memory_error="CUDA failure 2: out of memory")
    with pytest.raises(
        BackendError, match="arithmetic: CUDAExecutionProvider cannot bind its tensors: out of GPU memory"
    ):
        open_engine("ort_cuda", graph)


def test_a_tensor_that_cannot_be_bound_is_a_backend_error(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(bind_error="Failed to find input name in the mapping: left")
    with pytest.raises(BackendError, match="cannot bind its tensors: Failed to find input name"):
        open_engine("ort_cuda", graph)


def test_a_wheel_without_code_for_the_gpu_is_explained(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(run_error=lambda options: "CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available")
    with pytest.raises(BackendError, match="holds no code for this GPU; on a Jetson use backend 'tensorrt'"):
        open_engine("ort_cuda", graph)


def test_a_broken_graph_is_refused_with_its_name_once_it_fails_either_way(
    install: Callable[..., Fake], name: str, tmp_path: Path
) -> None:
    install()
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(BackendError, match=rf"broken\.onnx: {BACKENDS[name]} cannot load it: ") as caught:
        load_backend(name).open(path, spec_of(), EngineOptions())
    assert "\n" not in str(caught.value)


def test_gpu_backends_refuse_bf16(install: Callable[..., Fake], name: str, graph: tuple[Path, SubnetSpec]) -> None:
    install()
    with pytest.raises(
        SettingError, match=rf"compute 'bf16': backend '{name}' computes in what a network is stored in"
    ):
        open_engine(name, graph, compute="bf16")


def test_cuda_is_told_to_keep_fp32_and_its_memory_limit(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    fake = install()
    open_engine("ort_cuda", graph, device_memory=6 * 2**30)
    ((provider, options),) = fake.asked[0]
    assert provider == CUDA
    assert options["use_tf32"] == "0"
    assert options["gpu_mem_limit"] == str(6 * 2**30)
    assert all(isinstance(value, str) for value in options.values())


def test_tensorrt_keeps_its_engines_where_it_is_told_to(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec], tmp_path: Path
) -> None:
    fake = install(placement=placed("ort_tensorrt"))
    open_engine("ort_tensorrt", graph, cache=tmp_path / "engines" / "one")
    (provider, options), (second, _) = fake.asked[0]
    assert (provider, second) == (TENSORRT, CUDA)
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(tmp_path / "engines" / "one")
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_engine_cache_prefix"] == "arithmetic"
    assert (tmp_path / "engines" / "one").is_dir()


def test_tensorrt_keeps_nothing_without_a_cache(install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]) -> None:
    fake = install(placement=placed("ort_tensorrt"))
    open_engine("ort_tensorrt", graph)
    assert not any("cache" in key for key in fake.asked[0][0][1])


@pytest.mark.parametrize(
    ("dtype", "precision", "flags"),
    [("float32", "", "00"), ("float16", "", "10"), ("float32", "int8", "01"), ("float16", "int8", "11")],
)
def test_tensorrt_may_use_the_types_that_the_graph_is_written_in(dtype: str, precision: str, flags: str) -> None:
    options = ort_providers.tensorrt_options(spec_of(dtype, precision=precision), EngineOptions(), graph=True)
    assert options["trt_fp16_enable"] + options["trt_int8_enable"] == flags


@pytest.mark.parametrize(
    ("version", "size", "wanted"), [("1.31.1", 11, "1"), ("1.31.1", 10, None), ("1.22.2", 11, None), ("2.0", 11, "1")]
)
def test_weights_of_more_than_a_message_are_handed_to_tensorrt_beside_the_graph(
    install: Callable[..., Fake],
    graph: tuple[Path, SubnetSpec],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    size: int,
    wanted: str | None,
) -> None:
    fake = install(placement=placed("ort_tensorrt"))
    sys.modules["onnxruntime"].__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setattr(ort_providers, "LARGEST_MESSAGE", 10)
    graph[0].with_suffix(".bin").write_bytes(bytes(size))
    open_engine("ort_tensorrt", graph)
    assert fake.asked[0][0][1].get("trt_load_user_initializer") == wanted


def test_a_network_that_is_too_large_for_a_message_is_explained(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec]
) -> None:
    install(load_error=lambda options: "onnx.ModelProto exceeded maximum protobuf size of 2GB: 2600959367")
    with pytest.raises(BackendError, match="no network of more than 2 GB: use backend 'tensorrt' or 'ort_cuda'"):
        open_engine("ort_tensorrt", graph)


def test_a_cache_that_cannot_be_made_is_refused(
    install: Callable[..., Fake], graph: tuple[Path, SubnetSpec], tmp_path: Path
) -> None:
    install()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/below: cannot be made: "):
        open_engine("ort_tensorrt", graph, cache=tmp_path / "file" / "below")


def test_a_machine_that_has_everything_can_be_used(install: Callable[..., Fake], name: str) -> None:
    install()
    assert load_backend(name).unavailable() is None


def test_nvidias_libraries_are_loaded_from_the_environment_without_a_word(
    install: Callable[..., Fake], capsys: pytest.CaptureFixture[str]
) -> None:
    fake = install()
    load_backend("ort_cuda").unavailable()
    assert fake.preloaded == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"providers": (CPU,)}, r"built without CUDAExecutionProvider: pip uninstall onnxruntime, then pip install "
                                r"'echoexport\[onnxruntime-gpu\]'"),
        ({"providers": (CPU,), "kind": "jetson"}, "holds no code for Orin: use backend 'tensorrt'"),
        ({"missing": ("libcuda.so.1",)}, r"no NVIDIA driver is installed \(libcuda.so.1 is missing\)"),
        ({"driver": Driver(0)}, "this process sees no NVIDIA GPU"),
        ({"driver": Driver(1, code=100)}, "this process sees no NVIDIA GPU"),
        ({"missing": ("libcudart.so.13",)}, r"libcudart.so.13 cannot be loaded.*onnxruntime-gpu\[cuda,cudnn\]"),
        ({"missing": ("libcudnn.so.9",)}, r"libcudnn.so.9 cannot be loaded.*onnxruntime-gpu\[cuda,cudnn\]"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_the_fix(
    install: Callable[..., Fake], state: dict[str, Any], reason: str
) -> None:
    install(**state)
    found = load_backend("ort_cuda").unavailable() or ""
    assert re.search(reason, found), found
    assert "\n" not in found


def test_tensorrt_wants_its_own_library_beside_cudas(install: Callable[..., Fake]) -> None:
    install(missing=("libnvinfer.so.10",))
    assert load_backend("ort_cuda").unavailable() is None
    reason = load_backend("ort_tensorrt").unavailable() or ""
    assert "libnvinfer.so.10 cannot be loaded" in reason and "use backend 'ort_cuda'" in reason


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'echoexport[onnxruntime-gpu]'" in (load_backend(name).unavailable() or "")
    with pytest.raises(MissingPackageError, match=r"pip install 'echoexport\[onnxruntime-gpu\]'"):
        load_backend(name).open(tmp_path / "graph.onnx", spec_of(), EngineOptions())


def test_a_gpu_backend_describes_library_provider_and_device(install: Callable[..., Fake]) -> None:
    install()
    assert load_backend("ort_cuda").describe() == f"onnxruntime 1.31.1, {CUDA}, NVIDIA A100-SXM4-80GB"
    assert load_backend("ort_tensorrt").describe() == (
        f"onnxruntime 1.31.1, {TENSORRT}, TensorRT 10.16.2, NVIDIA A100-SXM4-80GB"
    )


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"cat": "Node", "name": "a_kernel_time"}]'])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "profile.json").write_text(content)
    with pytest.raises(BackendError, match=r"profile\.json: not a profile of ONNX Runtime's"):
        ort_providers.read_placement(tmp_path / "profile.json", CUDA)


def test_the_real_library_without_a_gpu_build_is_told_apart() -> None:
    if CUDA in real.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    reason = load_backend("ort_cuda").unavailable() or ""
    assert "built without CUDAExecutionProvider" in reason


def test_the_real_library_tells_where_nodes_run(graph: tuple[Path, SubnetSpec]) -> None:
    """What the double imitates, on the CPU provider."""
    if not hasattr(real.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip("this onnxruntime records no placement")
    settings = ort_providers.make_settings(real, EngineOptions(), backend="ort")
    session = ort_providers.start_session(real, graph[0], settings, providers=[(CPU, {})])
    placement = ort_providers.find_placement(session, CPU)
    assert placement is not None
    assert sum(placement.nodes.values()) >= 2 and placement.describe() is None


def test_the_real_librarys_profile_tells_it_too(graph: tuple[Path, SubnetSpec], tmp_path: Path) -> None:
    path, spec = graph
    settings = ort_providers.make_settings(real, EngineOptions(), backend="ort")
    settings.enable_profiling, settings.profile_file_prefix = True, str(tmp_path / "nodes")
    session = ort_providers.start_session(real, path, settings, providers=[(CPU, {})])
    session.run(None, {t.name: np.ones(t.shape, t.dtype) for t in spec.inputs})
    placement = ort_providers.read_placement(Path(session.end_profiling()), CPU)
    assert placement.nodes[CPU] >= 2 and not placement.elsewhere
