"""OpenVINO on the CPU: arithmetic, its own norms, one core, calls side by side."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.backends import openvino as openvino_backend
from echoexport.runtime.backends.openvino import OpenVINOEngine
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import (
    BackendError,
    SettingError,
)


def test_openvino_refuses_a_precision_it_does_not_know(
    arithmetic_graph: tuple[Path, SubnetSpec],
) -> None:
    with pytest.raises(SettingError, match=r"compute 'int4': backend 'openvino' has fp32, bf16"):
        load_backend("openvino").open(*arithmetic_graph, EngineOptions(compute="int4"))


def test_openvino_refuses_bf16_on_a_cpu_without_it(
    arithmetic_graph: tuple[Path, SubnetSpec], monkeypatch: pytest.MonkeyPatch
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
        load_backend("openvino").open(*arithmetic_graph, EngineOptions(compute="bf16"))


def test_openvino_computes_in_bf16_where_the_cpu_has_it(
    arithmetic_graph: tuple[Path, SubnetSpec],
) -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    engine = load_backend("openvino").open(*arithmetic_graph, EngineOptions(compute="bf16"))
    assert engine.precision == "bf16"


def test_openvino_keeps_compiled_networks_where_it_is_told_to(
    arithmetic_graph: tuple[Path, SubnetSpec], tmp_path: Path
) -> None:
    load_backend("openvino").open(*arithmetic_graph, EngineOptions(cache=tmp_path / "compiled"))
    assert list((tmp_path / "compiled").iterdir())


def test_openvino_does_without_a_cache_that_cannot_be_made(
    arithmetic_graph: tuple[Path, SubnetSpec], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "network"
    with pytest.warns(
        RuntimeWarning, match=r"the engine cache .*/file cannot be made \(Not a directory\)"
    ):
        engine = load_backend("openvino").open(*arithmetic_graph, EngineOptions(cache=cache))
    ones = {
        tensor.name: np.ones(tensor.shape, tensor.dtype) for tensor in arithmetic_graph[1].inputs
    }
    assert engine(ones)["product"].tolist() == [[1, 1, 1, 1]]


OPEN_TWICE = """
import sys, threading
from pathlib import Path
from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.engine.protocol import EngineOptions

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
def test_two_threads_may_open_the_first_networks_at_once(
    tmp_path: Path, norm_graph: Callable[..., bytes]
) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "norms.onnx").write_bytes(norm_graph(1))
    # In processes of their own: only the first use can hang, and then nothing ends it.
    for _ in range(3):
        command = [sys.executable, "-c", OPEN_TWICE, str(tmp_path / "norms.onnx")]
        done = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
        assert done.stdout == "2 opened\n"


def test_openvino_runs_as_many_calls_at_once_as_it_is_told(
    arithmetic_graph: tuple[Path, SubnetSpec],
) -> None:
    pytest.importorskip("openvino")
    path, spec = arithmetic_graph
    network = Network(spec, load_backend("openvino").open(path, spec, EngineOptions(lanes=3)))
    assert network.lanes == 3
    draw = np.random.default_rng(2)
    pairs = [draw.standard_normal((2, 1, 4)).astype(spec.inputs[0].dtype) for _ in range(40)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda pair: network({"left": pair[0], "right": pair[1]}), pairs))
    for pair, result in zip(pairs, results, strict=True):
        np.testing.assert_array_equal(result["difference"], pair[0] - pair[1])
    assert network.calls == 40
    network.close()


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


def test_a_call_that_waits_for_a_lane_is_refused_when_another_thread_closes_the_engine() -> None:
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
