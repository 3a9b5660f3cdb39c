"""Probing a device: figures from a made-up clock, shipped graphs run, absence told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.measuring import probe as probe_module
from echoexport.profiles.measuring.probe import PROBES, Probe, ProbeGraph, probe_device
from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.errors import BackendError


class FakeClock:
    """Every look at it is ``step`` seconds after the last one."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class FakeEngine(Engine):
    precision = "fp16"

    def __init__(self) -> None:
        self.calls = 0
        self.closed = False

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.calls += 1
        return {"y": inputs["x"]}

    def close(self) -> None:
        self.closed = True


class FakeBackend(Backend):
    """Opens engines that compute nothing.

    Remembers the graphs, and fails on those it is told to.
    """

    def __init__(self, name: str, *, fails: str = "") -> None:
        self.name = name
        self._fails = fails
        self.opened: list[str] = []
        self.engines: list[FakeEngine] = []

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "made up"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> FakeEngine:
        assert graph.is_file()
        self.opened.append(graph.name)
        if self._fails and self._fails in graph.name:
            raise BackendError("it does not compile")
        self.engines.append(FakeEngine())
        return self.engines[-1]


@pytest.fixture
def small_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of 64 KiB, which are all that a test of the arithmetic needs."""
    monkeypatch.setattr(probe_module, "_COPIED", 64 * 1024)


@pytest.mark.usefixtures("small_copies")
@given(step=st.floats(1e-4, 10))
def test_figures_are_work_by_the_median_call(step: float) -> None:
    probe = probe_device(FakeBackend("ort"), EngineOptions(threads=1), clock=FakeClock(step))
    assert probe.compute.seconds == pytest.approx(step)
    assert probe.compute.value == pytest.approx(PROBES[0].flops / step)
    assert probe.int8.value == pytest.approx(PROBES[1].flops / step)
    assert probe.copy.value == pytest.approx(2 * 64 * 1024 / step)
    assert probe.compute.spread == pytest.approx(1, abs=1e-3)


@pytest.mark.usefixtures("small_copies")
@pytest.mark.parametrize(("step", "calls"), [(10.0, 3), (0.25, 4), (1e-5, 15)])
def test_a_test_stops_at_its_time_but_not_before_three_calls(step: float, calls: int) -> None:
    backend = FakeBackend("ort")
    probe = probe_device(backend, EngineOptions(), seconds=1.0, clock=FakeClock(step))
    assert probe.compute.calls == calls
    assert [engine.calls for engine in backend.engines] == [calls + 1] * 2, "one more to warm up"
    assert all(engine.closed for engine in backend.engines)


@pytest.mark.usefixtures("small_copies")
def test_a_test_that_fails_leaves_the_others_and_says_why() -> None:
    probe = probe_device(FakeBackend("ort", fails="int8"), EngineOptions())
    assert probe.int8.value is None and "it does not compile" in probe.int8.reason
    assert probe.compute.value is not None and probe.copy.value is not None
    assert probe.roof.int8 is None and "it does not compile" in probe.roof.reason


def test_a_gpu_gets_large_graphs_and_no_copies_of_host_memory() -> None:
    backend = FakeBackend("of a GPU")
    backend.on_gpu = True
    probe = probe_device(backend, EngineOptions())
    assert backend.opened == ["probe-fp16-4096.onnx", "probe-int8-4096.onnx"]
    assert probe.copy.value is None and "not tested" in probe.copy.reason


@pytest.mark.usefixtures("small_copies")
def test_a_backend_that_computes_nothing_has_no_figure() -> None:
    probe = probe_device(load_backend("null"), EngineOptions())
    assert (probe.compute.value, probe.int8.value) == (None, None)
    assert "computes nothing" in probe.roof.reason and probe.roof.bandwidth is not None


@pytest.mark.usefixtures("small_copies")
@pytest.mark.parametrize("name", ["ort", "openvino"])
def test_the_shipped_graphs_run(name: str) -> None:
    backend = load_backend(name)
    if backend.unavailable():
        pytest.skip(backend.unavailable() or "")
    probe = probe_device(backend, EngineOptions(compute="fp32", threads=1), seconds=0.01)
    for figure in (probe.compute, probe.int8):
        assert figure.value is not None and figure.value > 1e8, figure
        assert name in figure.what
    assert parse(Probe, json.loads(json.dumps(dump(probe))), where="probe") == probe


def test_operations_of_a_graph_are_two_for_each_multiply_accumulate() -> None:
    assert ProbeGraph("fp32", 10, 3).flops == 2 * 1000 * 3
