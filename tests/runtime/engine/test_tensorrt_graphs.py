"""CUDA graphs of TensorRT engines: recorded at the second call, done without where that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.engine.tensorrt_engine import TensorRTEngine


def test_the_second_call_records_and_later_ones_replay(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    launches = []
    for noise in range(4):
        assert wrong_outputs(engine, inputs_of(noise)) == {}
        launches.append(cuda.calls["cudaGraphLaunch"])
    assert launches == [0, 1, 2, 3]
    assert cuda.calls["cudaStreamBeginCapture"] == 1
    assert engine.notes == []


@pytest.mark.parametrize(
    "function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_where_recording_fails_the_engine_goes_on_without_and_says_so(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    cuda_errors: Any,
    function: str,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small()
    cuda.fail(function, cuda_errors.cudaErrorStreamCaptureUnsupported, once=True)
    for noise in range(4):
        assert wrong_outputs(engine, inputs_of(noise)) == {}
    assert cuda.calls["cudaGraphLaunch"] == 0
    assert len(engine.notes) == 1
    assert f"small: runs without a CUDA graph: CUDA: {function} failed" in engine.notes[0]


def test_an_engine_that_cannot_be_recorded_goes_on_without(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small("11.4", "no capture")
    for noise in range(3):
        assert wrong_outputs(engine, inputs_of(noise)) == {}
    assert engine.notes[0].startswith(
        "small: runs without a CUDA graph: small: TensorRT cannot run it"
    )
    assert cuda.calls["cudaStreamBeginCapture"] == 1


def test_rtx_records_by_itself(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small("rtx-1.7")
    for noise in range(3):
        assert wrong_outputs(engine, inputs_of(noise)) == {}
    strategy = engine._library.module.engines[0].contexts[0].config.cuda_graph_strategy  # type: ignore[attr-defined]
    assert strategy.name == "WHOLE_GRAPH_CAPTURE"
    assert cuda.calls["cudaStreamBeginCapture"] == 0


def test_rtx_keeps_its_kernels_where_it_is_told_to(
    open_small: Callable[..., TensorRTEngine],
    tmp_path: Path,
    inputs_of: Callable[..., dict[str, np.ndarray]],
) -> None:
    options = EngineOptions(cache=tmp_path / "kept")
    open_small("rtx-1.7", options=options)(inputs_of(1))
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["small.kernels"]
    again = open_small("rtx-1.7", options=options)
    config = again._library.module.engines[-1].contexts[0].config  # type: ignore[attr-defined]
    assert config.cache.kernels == {"small"}


def test_rtx_makes_kernels_anew_where_a_bit_of_them_flipped(
    open_small: Callable[..., TensorRTEngine],
    tmp_path: Path,
    inputs_of: Callable[..., dict[str, np.ndarray]],
) -> None:
    options = EngineOptions(cache=tmp_path / "kept")
    open_small("rtx-1.7", options=options)(inputs_of(1))
    file = tmp_path / "kept" / "small.kernels"
    whole = file.read_bytes()
    for place in np.random.default_rng(12).integers(0, 8 * len(whole), 4):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << (place % 8)
        file.write_bytes(flipped)
        again = open_small("rtx-1.7", options=options)
        config = again._library.module.engines[-1].contexts[0].config  # type: ignore[attr-defined]
        assert config.cache.kernels == set()
        again(inputs_of(1))
        assert file.read_bytes() == whole


def test_rtx_runs_where_its_kernels_cannot_be_kept(
    open_small: Callable[..., TensorRTEngine],
    tmp_path: Path,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    (tmp_path / "a file").write_text("no folder")
    engine = open_small("rtx-1.7", options=EngineOptions(cache=tmp_path / "a file"))
    assert wrong_outputs(engine, inputs_of(1)) == {}
    assert (tmp_path / "a file").read_text() == "no folder"


@pytest.mark.parametrize("version", ["10.3", "rtx-1.7"])
def test_an_engine_that_is_profiled_times_its_layers_and_records_nothing(
    open_small: Callable[..., TensorRTEngine],
    cuda: Any,
    version: str,
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    engine = open_small(version, options=EngineOptions(profile=True))
    for noise in range(3):
        assert wrong_outputs(engine, inputs_of(noise)) == {}
    layers: Any = engine.read_layers()  # type: ignore[attr-defined]
    assert [(layer.name, layer.seconds) for layer in layers] == [
        ("first", 0.001),
        ("second", 0.002),
    ]
    assert cuda.calls["cudaStreamBeginCapture"] == 0
    config = engine._library.module.engines[0].contexts[0].config
    assert config is None or config.cuda_graph_strategy.name == "DISABLED"
