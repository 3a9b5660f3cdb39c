"""ONNX Runtime's GPU engines on a double.

Calls, copies, recorded CUDA graphs, and what a failing GPU says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, SettingError
from echoexport.runtime.trace.tracer import Tracer

pytest.importorskip("onnxruntime")


Make = Callable[..., Any]
Graph = tuple[Path, SubnetSpec]
LEFT = np.array([[1, 2, 3, 4]], np.float32)
RIGHT = np.array([[4, 3, 2, 1]], np.float32)


def test_outputs_come_by_name_whatever_their_order(
    make_ort: Make, open_ort: Make, gpu_backend: str, gpu_provider: str, arithmetic_graph: Graph
) -> None:
    make_ort(runs_on=gpu_provider)
    engine = open_ort(gpu_backend, arithmetic_graph)
    network = Network(arithmetic_graph[1], engine)
    found = network({"right": RIGHT, "left": LEFT})
    np.testing.assert_array_equal(found["difference"], LEFT - RIGHT)
    np.testing.assert_array_equal(found["product"], LEFT * RIGHT)
    assert {array.dtype.name for array in found.values()} == {arithmetic_graph[1].inputs[0].dtype}
    assert engine.precision == arithmetic_graph[1].stored
    assert engine.notes == []


def test_outputs_of_one_call_survive_the_next_one(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort()
    network = Network(arithmetic_graph[1], open_ort("ort_cuda", arithmetic_graph))
    first = network({"left": LEFT, "right": RIGHT})
    network({"left": 5 * LEFT, "right": RIGHT})
    np.testing.assert_array_equal(first["product"], LEFT * RIGHT)


def test_a_frozen_input_goes_up_once(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort()
    engine = open_ort("ort_cuda", arithmetic_graph)
    dtype = arithmetic_graph[1].inputs[0].dtype
    keys = freeze(RIGHT.astype(dtype))
    before = engine.uploaded
    for step in range(3):
        found = engine({"left": (step * LEFT).astype(dtype), "right": keys})
        np.testing.assert_array_equal(found["product"], step * LEFT * RIGHT)
    assert engine.uploaded - before == 3 * keys.nbytes + keys.nbytes


def test_another_portraits_keys_take_the_place_of_the_first(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort()
    engine = open_ort("ort_cuda", arithmetic_graph)
    dtype = arithmetic_graph[1].inputs[0].dtype
    left = LEFT.astype(dtype)
    for keys in (
        freeze(RIGHT.astype(dtype)),
        freeze(7 * RIGHT.astype(dtype)),
        freeze(RIGHT.astype(dtype)),
    ):
        np.testing.assert_array_equal(engine({"left": left, "right": keys})["product"], left * keys)


def test_an_array_that_can_change_is_copied_every_time(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort()
    engine = open_ort("ort_cuda", arithmetic_graph)
    dtype = arithmetic_graph[1].inputs[0].dtype
    owner = RIGHT.astype(dtype)
    view = owner.view()
    view.setflags(write=False)  # read-only, but its owner is not
    left = LEFT.astype(dtype)
    engine({"left": left, "right": view})
    owner *= 2
    np.testing.assert_array_equal(engine({"left": left, "right": view})["product"], left * owner)


def test_after_a_failed_call_everything_is_copied_again(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    fake = make_ort()
    engine = open_ort("ort_cuda", arithmetic_graph)
    dtype = arithmetic_graph[1].inputs[0].dtype
    inputs = {"left": freeze(LEFT.astype(dtype)), "right": freeze(RIGHT.astype(dtype))}
    engine(inputs)
    fake.run_error = lambda options: "CUDA failure 700: an illegal memory access was encountered"
    with pytest.raises(BackendError, match="CUDAExecutionProvider failed: CUDA failure 700"):
        engine(inputs)
    fake.run_error = lambda options: ""
    before = engine.uploaded
    np.testing.assert_array_equal(engine(inputs)["product"], LEFT * RIGHT)
    assert engine.uploaded - before == sum(array.nbytes for array in inputs.values())


def test_copies_are_traced(make_ort: Make, open_ort: Make, arithmetic_graph: Graph) -> None:
    make_ort()
    engine = open_ort("ort_cuda", arithmetic_graph)
    tracer = Tracer()
    Network(arithmetic_graph[1], engine, tracer=tracer)({"left": LEFT, "right": RIGHT})
    assert [(span.name, span.category) for span in tracer.spans() if span.category == "copy"] == [
        ("inputs", "copy"),
        ("upload", "copy"),
        ("download", "copy"),
    ]


def test_a_closed_gpu_engine_is_refused(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort()
    engine = open_ort("ort_cuda", arithmetic_graph)
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="this engine is closed"):
        engine({"left": LEFT, "right": RIGHT})


def test_a_missing_input_and_one_of_another_shape_are_named(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort()
    engine = open_ort("ort_cuda", arithmetic_graph)
    with pytest.raises(BackendError, match="arithmetic: input 'right' is missing"):
        engine({"left": LEFT})
    with pytest.raises(BackendError, match="does not match the size of the OrtValue"):
        engine({"left": np.ones((3, 7), np.float32), "right": RIGHT})


def test_a_graph_that_cannot_be_recorded_runs_without(
    make_ort: Make, open_ort: Make, gpu_backend: str, gpu_provider: str, arithmetic_graph: Graph
) -> None:
    graphs = ("enable_cuda_graph", "trt_cuda_graph_enable")
    wanted = lambda options: any(options.get(key) == "1" for key in graphs)  # noqa: E731
    fake = make_ort(
        runs_on=gpu_provider,
        load_error=lambda options: (
            "cannot use the graph capture feature" if wanted(options) else ""
        ),
    )
    engine = open_ort(gpu_backend, arithmetic_graph)
    assert [wanted(asked[0][1]) for asked in fake.asked] == [True, False]
    (note,) = engine.notes
    assert (
        note.startswith("arithmetic: runs without a CUDA graph: ")
        and "graph capture feature" in note
    )


def test_a_recording_that_fails_in_the_first_call_is_left_out_as_well(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(
        run_error=lambda options: (
            "operation not permitted when stream is capturing"
            if options["enable_cuda_graph"] == "1"
            else ""
        )
    )
    engine = open_ort("ort_cuda", arithmetic_graph)
    np.testing.assert_array_equal(
        Network(arithmetic_graph[1], engine)({"left": LEFT, "right": RIGHT})["product"],
        LEFT * RIGHT,
    )
    assert len(engine.notes) == 1


def test_without_graphs_none_is_asked_for(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    fake = make_ort()
    open_ort("ort_cuda", arithmetic_graph, cuda_graph=False)
    assert [asked[0][1]["enable_cuda_graph"] for asked in fake.asked] == ["0"]


@pytest.mark.parametrize(
    "text",
    [
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size "
        "2147483648",
        "CUDA failure 2: out of memory ; GPU=0",
    ],
)
def test_out_of_memory_says_what_to_do(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph, text: str
) -> None:
    make_ort(run_error=lambda options: text)
    with pytest.raises(
        BackendError,
        match=r"out of GPU memory \(.*\); close other programs, raise the memory limit",
    ):
        open_ort("ort_cuda", arithmetic_graph)


def test_memory_that_runs_out_while_inputs_are_bound_says_so_too(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(memory_error="CUDA failure 2: out of memory")
    with pytest.raises(
        BackendError,
        match="arithmetic: CUDAExecutionProvider cannot bind its tensors: out of GPU memory",
    ):
        open_ort("ort_cuda", arithmetic_graph)


def test_a_tensor_that_cannot_be_bound_is_a_backend_error(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(bind_error="Failed to find input name in the mapping: left")
    with pytest.raises(BackendError, match="cannot bind its tensors: Failed to find input name"):
        open_ort("ort_cuda", arithmetic_graph)


def test_a_wheel_without_code_for_the_gpu_is_explained(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(
        run_error=lambda options: (
            "CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available"
        )
    )
    with pytest.raises(
        BackendError, match="holds no code for this GPU; on a Jetson use backend 'tensorrt'"
    ):
        open_ort("ort_cuda", arithmetic_graph)


def test_a_broken_graph_is_refused_with_its_name_once_it_fails_either_way(
    make_ort: Make, gpu_backend: str, gpu_provider: str, tmp_path: Path, arithmetic_spec: Make
) -> None:
    make_ort()
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(
        BackendError, match=rf"broken\.onnx: {gpu_provider} cannot load it: "
    ) as caught:
        load_backend(gpu_backend).open(path, arithmetic_spec(), EngineOptions())
    assert "\n" not in str(caught.value)


def test_after_an_interrupted_copy_everything_is_copied_again(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    interrupted = False

    @contextmanager
    def ask(what: str) -> Iterator[None]:
        yield
        if interrupted and what == "upload":
            raise KeyboardInterrupt

    make_ort(on_gpu=ask)
    engine = open_ort("ort_cuda", arithmetic_graph)
    dtype = arithmetic_graph[1].inputs[0].dtype
    first, second = (freeze(left.astype(dtype)) for left in (LEFT, 3 * LEFT))
    right = freeze(RIGHT.astype(dtype))
    engine({"left": first, "right": right})
    interrupted = True
    with pytest.raises(KeyboardInterrupt):
        engine({"left": second, "right": right})
    interrupted = False
    np.testing.assert_array_equal(engine({"left": first, "right": right})["product"], LEFT * RIGHT)


def test_an_interrupted_call_keeps_the_gpu_until_its_work_is_done(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    go = threading.Event()

    @contextmanager
    def ask(what: str) -> Iterator[None]:
        yield
        if what == "run":
            go.wait(30)
            ended.append(what)

    def interrupt(future: Any, timeout: float | None = None) -> None:
        threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt

    make_ort(on_gpu=ask)
    engine = open_ort("ort_cuda", arithmetic_graph)
    dtype = arithmetic_graph[1].inputs[0].dtype
    with monkeypatch.context() as patch:
        patch.setattr(Future, "result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine({"left": LEFT.astype(dtype), "right": RIGHT.astype(dtype)})
    assert ended == ["run"]


def test_gpu_backends_refuse_bf16(
    make_ort: Make, open_ort: Make, gpu_backend: str, arithmetic_graph: Graph
) -> None:
    make_ort()
    with pytest.raises(
        SettingError,
        match=rf"compute 'bf16': backend '{gpu_backend}' computes in what a network is stored in",
    ):
        open_ort(gpu_backend, arithmetic_graph, compute="bf16")
