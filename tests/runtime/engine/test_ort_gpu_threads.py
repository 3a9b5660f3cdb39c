"""ONNX Runtime's recordings of CUDA graphs, on a double that loses them as CUDA does.

CUDA loses a recording to any work beside it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine import ort_gpu
from echoexport.runtime.engine.gate import Gate
from echoexport.runtime.engine.protocol import Backend, EngineOptions
from echoexport.runtime.errors import BackendError

pytest.importorskip("onnxruntime")

Make = Callable[..., Any]
Graph = tuple[Path, SubnetSpec]
Action = Callable[[], Any]

LIMIT = 30  # seconds after which a thread hangs
LOST = "CUDA failure 900: operation not permitted when stream is capturing"
ZEROS = np.zeros((1, 4), np.float32)


class Gpu:
    """A GPU whose recording is lost where another thread asks for anything meanwhile.

    ``seen`` is what was asked.
    """

    def __init__(self) -> None:
        self.recording = 0.02  # seconds that a recording takes, unless it is lost before
        self._lock = threading.Lock()
        self._busy: dict[int, str] = {}
        self._lost = threading.Event()
        self.began = threading.Event()  # of a recording
        self.seen: list[str] = []

    @contextmanager
    def ask(self, what: str) -> Iterator[None]:
        me = threading.get_ident()
        with self._lock:
            others = [kind for thread, kind in self._busy.items() if thread != me]
            if what == "record":
                self._lost.clear()
            if others and "record" in (what, *others):
                self._lost.set()
            self._busy[me] = what
            self.seen.append(what)
            if what == "record":
                self.began.set()
        try:
            if what == "record":
                self._lost.wait(self.recording)
            else:
                time.sleep(0.002)
            yield
        finally:
            with self._lock:
                del self._busy[me]
                lost = self._lost.is_set()
        if what == "record" and lost:
            raise RuntimeError(LOST)


@pytest.fixture
def gpu(make_ort: Make) -> Gpu:
    """The double's GPU."""
    found = Gpu()
    make_ort(on_gpu=found.ask)
    return found


@pytest.fixture
def graph(small_graph: Callable[[str], Graph]) -> Graph:
    return small_graph("float32")


def give(network: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = network({"noise": ZEROS + 3, "reference": ZEROS + 2})
    return found


def run_beside(*actions: Action) -> list[Any]:
    """What each gives, in threads that begin at once.

    An error in one is raised, and so is one that hangs.
    """
    begin = threading.Barrier(len(actions))
    results: dict[int, Any] = {}
    errors: list[BaseException] = []

    def run(place: int) -> None:
        try:
            begin.wait(LIMIT)
            results[place] = actions[place]()
        except BaseException as error:  # whatever it is
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(actions))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + LIMIT
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    if errors:
        raise errors[0]
    assert len(results) == len(actions), "a thread hangs"
    return [results[place] for place in range(len(actions))]


class Runner:
    """Calls a network again and again until what runs beside it is done."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._done = threading.Event()
        self.calls = 0

    def __call__(self) -> bool:
        same = True
        while not self._done.is_set() or not self.calls:
            same &= bool((give(self._network)["product"] == 6).all())
            self.calls += 1
        return same

    def until(self, action: Action) -> Action:
        def run() -> Any:
            try:
                return action()
            finally:
                self._done.set()

        return run


def open_some(open_ort: Make, graph: Graph, count: int = 3) -> list[Any]:
    """Engines that were opened one after the other, and then ran once more."""
    engines = [open_ort("ort_cuda", graph) for _ in range(count)]
    for engine in engines:
        give(engine)
    return engines


def test_networks_are_opened_while_another_runs(gpu: Gpu, open_ort: Make, graph: Graph) -> None:
    runner = Runner(open_ort("ort_cuda", graph))
    opened, same = run_beside(runner.until(lambda: open_some(open_ort, graph)), runner)
    assert [engine.notes for engine in opened] == [[], [], []]
    assert same
    assert gpu.seen.count("record") == 4


def test_without_the_gate_the_recording_would_be_lost(
    gpu: Gpu, open_ort: Make, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Open:
        shared = alone = staticmethod(contextlib.nullcontext)

    monkeypatch.setattr(ort_gpu, "_GPU", Open())
    runner = Runner(open_ort("ort_cuda", graph))
    gpu.recording = LIMIT
    opened, _ = run_beside(runner.until(lambda: open_some(open_ort, graph, 1)), runner)
    (note,) = opened[0].notes
    assert "runs without a CUDA graph" in note and LOST in note


def test_a_network_records_once_whoever_calls_it(gpu: Gpu, open_ort: Make, graph: Graph) -> None:
    engine = open_ort("ort_cuda", graph)
    give(engine)
    for _ in range(3):
        run_beside(lambda: give(engine))
    assert (gpu.seen.count("record"), gpu.seen.count("run")) == (1, 4)


def test_a_closed_networks_thread_ends(gpu: Gpu, open_ort: Make, graph: Graph) -> None:
    engine = open_ort("ort_cuda", graph)
    name = f"onnxruntime-{graph[1].name}"
    assert any(thread.name.startswith(name) for thread in threading.enumerate())
    engine.close()
    assert not any(thread.name.startswith(name) for thread in threading.enumerate())


def test_several_networks_are_opened_at_once(gpu: Gpu, open_ort: Make, graph: Graph) -> None:
    opened = run_beside(*[lambda: open_some(open_ort, graph, 1)[0]] * 4)
    assert [engine.notes for engine in opened] == [[]] * 4
    assert gpu.seen.count("record") == 4


def test_networks_are_closed_while_another_is_opened(
    gpu: Gpu, open_ort: Make, graph: Graph
) -> None:
    held = open_some(open_ort, graph, 6)

    gpu.began.clear()

    def close() -> None:
        gpu.began.wait(LIMIT)
        while held:
            held.pop().close()

    opened, _ = run_beside(lambda: open_some(open_ort, graph), close)
    assert [engine.notes for engine in opened] == [[], [], []]
    assert gpu.seen.count("free") == 6


def test_networks_run_side_by_side_once_they_are_open(
    make_ort: Make, open_ort: Make, graph: Graph
) -> None:
    inside = threading.Barrier(2)
    together = []

    @contextmanager
    def ask(what: str) -> Iterator[None]:
        if what == "run":
            together.append(inside.wait(LIMIT))
        yield

    make_ort(on_gpu=ask)
    engines = [open_ort("ort_cuda", graph) for _ in range(2)]
    run_beside(*(lambda engine=engine: give(engine) for engine in engines))
    assert sorted(together) == [0, 1]


@pytest.mark.parametrize("what", ["load", "allocate", "upload", "record"])
def test_what_fails_while_a_network_is_opened_keeps_nobody_else_out(
    make_ort: Make, open_ort: Make, graph: Graph, what: str
) -> None:
    broken = threading.Event()

    @contextmanager
    def ask(asked: str) -> Iterator[None]:
        if broken.is_set() and asked == what:
            raise RuntimeError(f"no {what}")
        yield

    make_ort(on_gpu=ask)
    engine = open_ort("ort_cuda", graph)
    broken.set()
    if what == "record":  # then it runs without
        assert len(open_ort("ort_cuda", graph).notes) == 1
    else:
        with pytest.raises(BackendError, match=f"no {what}"):
            open_ort("ort_cuda", graph)
    broken.clear()
    found, opened = run_beside(lambda: give(engine), lambda: open_ort("ort_cuda", graph))
    np.testing.assert_array_equal(found["product"], ZEROS + 6)
    assert opened.notes == []


def test_a_networks_memory_goes_back_inside_the_gate_even_if_its_recording_failed(
    make_ort: Make, open_ort: Make, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    inside = list[bool]()

    @contextmanager
    def ask(what: str) -> Iterator[None]:
        if what == "record":
            raise RuntimeError(LOST)
        if what == "free":
            inside.append(gate._inside == 1)
        yield

    monkeypatch.setattr(ort_gpu, "_GPU", gate)
    make_ort(on_gpu=ask)
    engine = open_ort("ort_cuda", graph)
    assert inside == [True]
    engine.close()
    assert inside == [True, True]


def test_a_call_that_fails_keeps_nobody_else_out(
    make_ort: Make, open_ort: Make, graph: Graph
) -> None:
    fake = make_ort()
    engine = open_ort("ort_cuda", graph)
    fake.run_error = lambda options: "CUDA failure 700: an illegal memory access was encountered"
    with pytest.raises(BackendError, match="CUDA failure 700"):
        give(engine)
    fake.run_error = lambda options: ""
    (opened,) = run_beside(lambda: open_ort("ort_cuda", graph))
    assert opened.notes == []


def test_a_bundle_opens_networks_ahead_while_one_runs(
    gpu: Gpu, open_ort: Make, graph: Graph, null_bundle: Path
) -> None:
    class Small(Backend):
        """Opens the small network, whatever it is asked for."""

        name = "ort_cuda"

        def unavailable(self) -> str | None:
            return None

        def describe(self) -> str:
            return "a double"

        def open(self, path: Path, spec: SubnetSpec, options: EngineOptions) -> Any:
            return open_ort("ort_cuda", graph)

    runner = Runner(Network(graph[1], open_ort("ort_cuda", graph)))
    names = ["vae_encoder", "reference_unet", "denoising_unet"]
    with Bundle(
        null_bundle, read_manifest(null_bundle), backend=Small(), options=EngineOptions()
    ) as bundle:

        def open_ahead() -> list[tuple[str, ...]]:
            bundle.lease().open_ahead(*names)
            return [bundle.network(name).notes for name in names]

        notes, same = run_beside(runner.until(open_ahead), runner)
    assert notes == [(), (), ()]
    assert same
    assert gpu.seen.count("record") == 4
