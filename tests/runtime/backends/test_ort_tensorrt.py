"""ONNX Runtime on TensorRT: caches, types and weights beside the graph."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine import ort_providers
from echoexport.runtime.engine.ort_providers import CUDA_PROVIDER, TENSORRT_PROVIDER
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError

Make = Callable[..., Any]
Graph = tuple[Path, SubnetSpec]


def test_tensorrt_keeps_its_engines_where_it_is_told_to(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph, tmp_path: Path
) -> None:
    fake = make_ort(runs_on=TENSORRT_PROVIDER)
    open_ort("ort_tensorrt", arithmetic_graph, cache=tmp_path / "engines" / "one")
    (provider, options), (second, _) = fake.asked[0]
    assert (provider, second) == (TENSORRT_PROVIDER, CUDA_PROVIDER)
    assert (
        options["trt_engine_cache_path"]
        == options["trt_timing_cache_path"]
        == str(tmp_path / "engines" / "one")
    )
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_engine_cache_prefix"] == "arithmetic"
    assert (tmp_path / "engines" / "one").is_dir()


def test_tensorrt_keeps_nothing_without_a_cache(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    fake = make_ort(runs_on=TENSORRT_PROVIDER)
    open_ort("ort_tensorrt", arithmetic_graph)
    assert not any("cache" in key for key in fake.asked[0][0][1])


@pytest.mark.parametrize(
    ("dtype", "precision", "flags"),
    [
        ("float32", "", "00"),
        ("float16", "", "10"),
        ("float32", "int8", "01"),
        ("float16", "int8", "11"),
    ],
)
def test_tensorrt_may_use_the_types_that_the_graph_is_written_in(
    dtype: str, precision: str, flags: str, arithmetic_spec: Make
) -> None:
    options = ort_providers.tensorrt_options(
        arithmetic_spec(dtype, precision=precision), EngineOptions(), graph=True
    )
    assert options["trt_fp16_enable"] + options["trt_int8_enable"] == flags


@pytest.mark.parametrize(
    ("version", "size", "wanted"),
    [("1.31.1", 11, "1"), ("1.31.1", 10, None), ("1.22.2", 11, None), ("2.0", 11, "1")],
)
def test_weights_of_more_than_a_message_are_handed_to_tensorrt_beside_the_graph(
    make_ort: Make,
    open_ort: Make,
    arithmetic_graph: Graph,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    size: int,
    wanted: str | None,
) -> None:
    fake = make_ort(runs_on=TENSORRT_PROVIDER)
    sys.modules["onnxruntime"].__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setattr(ort_providers, "LARGEST_MODEL", 10)
    arithmetic_graph[0].with_suffix(".bin").write_bytes(bytes(size))
    open_ort("ort_tensorrt", arithmetic_graph)
    assert fake.asked[0][0][1].get("trt_load_user_initializer") == wanted


def test_a_network_that_is_too_large_for_a_message_is_explained(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(
        load_error=lambda options: (
            "onnx.ModelProto exceeded maximum protobuf size of 2GB: 2600959367"
        )
    )
    with pytest.raises(
        BackendError, match="no network of more than 2 GB: use backend 'tensorrt' or 'ort_cuda'"
    ):
        open_ort("ort_tensorrt", arithmetic_graph)


def test_a_cache_that_cannot_be_made_is_done_without(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph, tmp_path: Path
) -> None:
    fake = make_ort(runs_on=TENSORRT_PROVIDER)
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match=r"the engine cache .*/file cannot be made "):
        open_ort("ort_tensorrt", arithmetic_graph, cache=tmp_path / "file" / "below")
    assert "trt_engine_cache_path" not in fake.asked[0][0][1]


def test_what_was_changed_in_the_cache_is_removed_before_the_library_reads_it(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph, tmp_path: Path
) -> None:
    make_ort(runs_on=TENSORRT_PROVIDER)
    open_ort("ort_tensorrt", arithmetic_graph, cache=tmp_path / "one")
    (tmp_path / "one" / "arithmetic.engine").write_bytes(b"changed")
    engine = open_ort("ort_tensorrt", arithmetic_graph, cache=tmp_path / "one")
    assert not (tmp_path / "one" / "arithmetic.engine").exists()
    assert any("made anew, not being as it was left" in note for note in engine.notes)
    again = open_ort("ort_tensorrt", arithmetic_graph, cache=tmp_path / "one")
    assert not any("made anew" in note for note in again.notes)
