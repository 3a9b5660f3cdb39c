"""TensorRT engines on a fake GPU: bound by name, copied once, replayed, faults told.

The fake GPU computes with ONNX Runtime.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.engine.tensorrt_engine import TensorRTEngine
from echoexport.runtime.errors import BackendError
from echoexport.runtime.trace.tracer import Tracer

VERSIONS = ("10.3", "10.16", "11.4", "rtx-1.7")
BYTES = 16  # of each tensor of the small network in float32


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_computes_by_name_though_outputs_come_in_another_order(
    open_small: Callable[..., TensorRTEngine],
    version: str,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small(version)
    for noise in (1.0, 2.0, 3.0):  # plainly, recording, replaying
        assert wrong_outputs(engine, inputs_of(noise)) == {}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_networks_dtype_goes_in_and_comes_out(
    small_graph: Callable[..., tuple[Path, SubnetSpec]],
    fakes: Any,
    make_tensorrt: Callable[..., Any],
    tmp_path: Path,
    dtype: str,
) -> None:
    make_tensorrt("10.3")
    graph, spec = small_graph(dtype)
    plan = fakes.write_plan(tmp_path / "small.plan", graph, ["difference", "product"])
    backend: Any = load_backend("tensorrt")
    network = Network(spec, backend.open_engine(plan, spec, EngineOptions()))
    found = network({"noise": np.full((1, 4), 3.0), "reference": np.full((1, 4), 2.0)})
    assert {name: array.dtype.name for name, array in found.items()} == {
        "difference": dtype,
        "product": dtype,
    }
    np.testing.assert_array_equal(found["product"], np.full((1, 4), 6.0))
    assert network.precision == {"float32": "fp32", "float16": "fp16"}[dtype]


def test_outputs_of_one_call_survive_the_next(
    open_small: Callable[..., TensorRTEngine], inputs_of: Callable[..., dict[str, np.ndarray]]
) -> None:
    engine = open_small()
    first = engine(inputs_of(0))
    engine(inputs_of(5))
    np.testing.assert_array_equal(first["difference"], np.zeros((1, 4)))


def test_a_frozen_input_is_copied_once_and_stays_right(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    reference = freeze(np.full((1, 4), 7, np.float32))
    assert wrong_outputs(engine, inputs_of(1, reference)) == {}
    for noise in (2.0, 3.0, 4.0):
        cuda.forget_counts()
        assert wrong_outputs(engine, inputs_of(noise, reference)) == {}
        assert cuda.bytes_copied("up") == BYTES
        assert cuda.bytes_copied("down") == 2 * BYTES
    assert (engine.uploaded, engine.downloaded) == (5 * BYTES, 8 * BYTES)


def test_another_frozen_input_is_copied_again(
    open_small: Callable[..., TensorRTEngine],
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    for value in (1, 2, 1):
        assert wrong_outputs(engine, inputs_of(1, freeze(np.full((1, 4), value, np.float32)))) == {}
    assert engine.uploaded == 6 * BYTES


def test_an_input_that_can_be_written_to_is_copied_at_every_call(
    open_small: Callable[..., TensorRTEngine],
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    reference = np.full((1, 4), 7, np.float32)
    for value in (1, 2, 3):
        reference[:] = value
        assert wrong_outputs(engine, inputs_of(1, reference)) == {}
    assert engine.uploaded == 6 * BYTES


def test_a_frozen_view_of_an_array_that_changes_is_copied_at_every_call(
    open_small: Callable[..., TensorRTEngine],
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    owner = np.full((1, 4), 7, np.float32)
    view = owner.view()
    view.setflags(write=False)
    for value in (1, 2, 3):
        owner[:] = value
        assert wrong_outputs(engine, inputs_of(1, view)) == {}
    assert engine.uploaded == 6 * BYTES


def test_no_memory_is_taken_after_the_first_call(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    assert wrong_outputs(engine, inputs_of(1)) == {}
    cuda.forget_counts()
    for noise in (2.0, 3.0):
        assert wrong_outputs(engine, inputs_of(noise)) == {}
    assert not {"cudaMalloc", "cudaHostAlloc", "cudaFree", "cudaStreamCreateWithFlags"} & set(
        cuda.calls
    )


def test_closing_gives_all_memory_back(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    for noise in range(3):
        engine(inputs_of(noise))
    assert set(cuda.live) == {"memory", "pinned", "streams", "graphs"}
    engine.close()
    engine.close()
    assert cuda.live == {}
    with pytest.raises(BackendError, match="this engine is closed"):
        engine(inputs_of(1))


def test_threads_that_call_at_once_get_their_own_results(
    open_small: Callable[..., TensorRTEngine], inputs_of: Callable[..., dict[str, np.ndarray]]
) -> None:
    engine = open_small()
    wrong = []

    def work(noise: int) -> None:
        for _ in range(20):
            inputs = inputs_of(noise)
            found = engine(inputs)["difference"]
            if not (found == inputs["noise"] - inputs["reference"]).all():
                wrong.append(noise)

    threads = [threading.Thread(target=work, args=(noise,)) for noise in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("good", range(4))
def test_out_of_memory_at_any_buffer_is_told_and_leaves_nothing(
    open_small: Callable[..., TensorRTEngine], cuda: Any, cuda_errors: Any, good: int
) -> None:
    cuda.fail("cudaMalloc", cuda_errors.cudaErrorMemoryAllocation, after=good)
    with pytest.raises(
        BackendError,
        match=r"cudaMalloc of 16 bytes failed: cudaErrorMemoryAllocation .* close other",
    ):
        open_small()
    assert cuda.live == {}


def test_an_engine_that_will_not_run_is_told(
    open_small: Callable[..., TensorRTEngine], inputs_of: Callable[..., dict[str, np.ndarray]]
) -> None:
    with pytest.raises(BackendError, match=r"small: TensorRT cannot run it: .*enqueueV3"):
        open_small("10.3", "cannot run")(inputs_of(1))


def test_after_a_failed_call_a_frozen_input_is_copied_anew(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    cuda_errors: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    reference = freeze(np.full((1, 4), 7, np.float32))
    assert wrong_outputs(engine, inputs_of(1, reference)) == {}
    cuda.fail("cudaStreamSynchronize", cuda_errors.cudaErrorInvalidValue, once=True)
    with pytest.raises(BackendError, match="cudaStreamSynchronize failed"):
        engine(inputs_of(2, reference))
    cuda.forget_counts()
    assert wrong_outputs(engine, inputs_of(3, reference)) == {}
    assert cuda.bytes_copied("up") == 2 * BYTES


@pytest.mark.parametrize(
    "bad",
    [
        {"noise": np.ones((1, 4), np.float32)},
        {"noise": np.ones((1, 4), np.float32), "reference": np.ones((1, 3), np.float32)},
        {"noise": np.ones((1, 4), np.float32), "reference": np.ones((1, 4), np.float64)},
        {"noise": np.ones((1, 4), np.float32), "reference": np.ones((1, 8), np.float32)[:, ::2]},
    ],
    ids=["missing", "shape", "dtype", "strides"],
)
def test_an_input_that_does_not_fit_the_buffer_is_never_copied(
    open_small: Callable[..., TensorRTEngine], bad: dict[str, np.ndarray]
) -> None:
    engine = open_small()
    with pytest.raises(
        BackendError, match=r"input 'reference' is .*; wanted \(1, 4\) float32 in C order"
    ):
        engine(bad)
    assert engine.uploaded == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: replace(t, dtype="float16"),
            r"'difference' is an output \(1, 4\) float32, .* \(1, 4\) float16",
        ),
        (
            lambda t: replace(t, axes=(("width", 4),)),
            r"'difference' is an output \(1, 4\) .* says an output \(4,\)",
        ),
        (lambda t: replace(t, name="sum"), r"tensor 'difference' is an output .* says none of it"),
    ],
    ids=["dtype", "shape", "name"],
)
def test_a_plan_of_another_network_is_refused(
    small: tuple[Path, SubnetSpec],
    fakes: Any,
    make_tensorrt: Callable[..., Any],
    tmp_path: Path,
    change: Callable[[Any], Any],
    words: str,
) -> None:
    make_tensorrt()
    graph, spec = small
    plan = fakes.write_plan(tmp_path / "small.plan", graph, ["product", "difference"])
    other = replace(spec, outputs=(change(spec.outputs[0]), spec.outputs[1]))
    backend: Any = load_backend("tensorrt")
    with pytest.raises(BackendError, match=words):
        backend.open_engine(plan, other, EngineOptions())


def test_a_tracer_is_told_of_copies_and_of_the_devices_own_time(
    open_small: Callable[..., TensorRTEngine],
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    tracer = Tracer()
    for noise in range(3):
        assert wrong_outputs(engine, inputs_of(noise), tracer=tracer) == {}
    spans = tracer.spans()
    assert [span.name for span in spans if span.category == "copy"] == ["upload", "download"] * 3
    device = [span for span in spans if span.clock == "device"]
    assert [(span.name, round(span.seconds, 6)) for span in device] == [("small", 0.005)] * 3


def test_events_of_a_tracer_are_given_back(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    assert wrong_outputs(engine, inputs_of(1), tracer=Tracer()) == {}
    assert cuda.live["events"] == 2
    engine.close()
    assert cuda.live == {}


def test_without_a_tracer_nothing_is_timed(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    assert wrong_outputs(open_small(), inputs_of(1)) == {}
    assert "cudaEventRecord" not in cuda.calls


@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["frozen", "other frozen", "writeable", "view", "frozen view"]),
            st.integers(-9, 9),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_arrays_come_in_whatever_order_results_are_right(
    open_small: Callable[..., TensorRTEngine],
    calls: list[tuple[str, int]],
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    changing = np.zeros((1, 4), np.float32)
    view = changing.view()
    frozen = freeze(np.full((1, 4), 3, np.float32))
    view.setflags(write=False)
    arrays = {
        "frozen": frozen,
        "other frozen": freeze(np.full((1, 4), 5, np.float32)),
        "writeable": changing,
        "view": view,
        "frozen view": frozen[:],
    }
    for kind, value in calls:
        changing[:] = value
        assert wrong_outputs(engine, inputs_of(value, arrays[kind])) == {}
    engine.close()
