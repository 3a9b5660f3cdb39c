"""The seam to NVIDIA's modules: what is asked of each release, and what is done without."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from echoexport.export.engines.nvidia.tensorrt_library import (
    TENSORRT,
    TENSORRT_RTX,
    BuilderLibrary,
    BuildOptions,
    Complaints,
    load_builder_library,
)
from echoexport.runtime.errors import BackendError, GraphError

FAKE = Path(__file__).parents[3] / "fakes" / "fake_tensorrt.py"
ENGINES = Path(__file__).parents[4] / "export" / "engines"
VERSIONS = ("10.3", "10.16", "11.4", "rtx-1.7")

Load = Callable[..., BuilderLibrary]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """A function that loads the double as a version, with a fault or none."""

    def run(version: str = "10.3", fault: str = "") -> BuilderLibrary:
        monkeypatch.setenv("FAKE_TENSORRT_VERSION", version)
        monkeypatch.setenv("FAKE_TENSORRT_FAULT", fault)
        product = TENSORRT_RTX if version.startswith("rtx") else TENSORRT
        return load_builder_library(replace(product, library=str(FAKE)))

    return run


def record_config(library: BuilderLibrary, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The config that the next build is given."""
    config = library._trt.IBuilderConfig()
    monkeypatch.setattr(library._trt.Builder, "create_builder_config", lambda self: config)
    return config


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """One node, whose second axis is open."""
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, "columns"]) for name in "xy"
    ]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "open", tensors[:1], tensors[1:]
    )
    onnx.save(helper.make_model(graph), tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BuilderLibrary], Any]:
    """A function that gives a parsed network without a graph behind it."""

    def parse(library: BuilderLibrary) -> Any:
        def take(self: Any, model: str) -> bool:
            self.network.graph = Path(model)
            self.network.outputs = ["y"]
            return True

        monkeypatch.setattr(library._trt.OnnxParser, "parse_from_file", take)
        return library.parse(tmp_path / "graph.onnx")

    return parse


@pytest.mark.parametrize("version", VERSIONS)
def test_networks_are_strongly_typed_and_do_not_round_to_tf32(
    load: Load, fixed: Any, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load(version)
    config = record_config(library, monkeypatch)
    parsed = fixed(library)
    plan = library.build(parsed, BuildOptions(workspace=10**9, level=4))
    assert parsed.network.strongly_typed
    assert not config.tf32
    assert (config.workspace, config.builder_optimization_level) == (10**9, 4)
    assert bytes(plan.content).startswith(b'{"fake"')
    assert plan.timing is None


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_asked_for_is_left_to_the_library(
    load: Load, fixed: Any, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load(version)
    config = record_config(library, monkeypatch)
    library.build(fixed(library), BuildOptions())
    assert (config.workspace, config.builder_optimization_level, config.progress_monitor) == (
        None,
        3,
        None,
    )
    assert config.timing is None


def test_without_the_typing_flag_a_network_is_made_with_no_flag(
    load: Load, fixed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load("11.4")
    monkeypatch.delattr(library._trt, "NetworkDefinitionCreationFlag")
    given: list[int] = []
    network = library._trt.INetworkDefinition
    monkeypatch.setattr(
        library._trt.Builder,
        "create_network",
        lambda self, flags: given.append(flags) or network(strongly_typed=True),
    )
    fixed(library)
    assert given == [0]


@pytest.mark.parametrize("version", VERSIONS)
def test_instance_norms_are_native_where_that_is_not_the_default(
    load: Load, fixed: Any, version: str
) -> None:
    library = load(version)
    parser = fixed(library).parser
    assert parser.get_flag(library._trt.OnnxParserFlag.NATIVE_INSTANCENORM)


def test_a_parser_without_flags_parses_all_the_same(
    load: Load, fixed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load()
    monkeypatch.delattr(library._trt, "OnnxParserFlag")
    assert fixed(library).layers == 7


def test_phases_of_the_builder_are_told(load: Load, fixed: Any) -> None:
    library = load()
    told: list[str] = []
    library.build(fixed(library), BuildOptions(tell_phase=told.append))
    assert told == ["Timing kernels"]


@pytest.mark.parametrize(
    ("timing", "fresh"), [*itertools.product([b"", b"damaged"], [False, True])]
)
def test_the_timing_cache_is_there_after_a_build_whatever_it_was_before(
    load: Load, fixed: Any, timing: bytes, fresh: bool
) -> None:
    library = load()
    plan = library.build(fixed(library), BuildOptions(timing=timing, fresh=fresh))
    assert plan.timing is not None and b'"graph"' in plan.timing
    assert len(plan.notes) == (1 if timing else 0)


def test_a_library_without_timing_caches_builds_without_one(
    load: Load, fixed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load()
    monkeypatch.delattr(library._trt.IBuilderConfig, "create_timing_cache")
    assert library.build(fixed(library), BuildOptions(timing=b"")).timing is None


def test_a_timing_cache_that_the_library_throws_out_is_started_anew(
    load: Load, fixed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load()
    create = library._trt.IBuilderConfig.create_timing_cache

    def throw(self: Any, content: bytes) -> Any:
        if content:
            raise RuntimeError("bad magic")
        return create(self, content)

    monkeypatch.setattr(library._trt.IBuilderConfig, "create_timing_cache", throw)
    plan = library.build(fixed(library), BuildOptions(timing=b"old"))
    assert plan.timing is not None and len(plan.notes) == 1


def test_a_newer_major_release_is_used_with_a_remark(
    load: Load, fixed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load("11.4")
    monkeypatch.setattr(library._trt, "__version__", "12.0.0.1")
    newer = BuilderLibrary(library._trt, library.product)
    plan = newer.build(fixed(newer), BuildOptions())
    assert plan.notes == ("TensorRT 12.0.0.1 is newer than what this release was made for (11.x)",)


@pytest.mark.parametrize("name", ["Builder", "OnnxParser", "ILogger", "MemoryPoolType"])
def test_what_cannot_be_done_without_is_missed_at_once_by_name(
    load: Load, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = load()
    monkeypatch.delattr(library._trt, name)
    with pytest.raises(
        BackendError, match=rf"TensorRT 10\.3\.0\.30 has no {name}: .*install both anew"
    ):
        BuilderLibrary(library._trt, library.product)


def test_an_input_of_open_shape_is_refused_by_name(load: Load, graph: Path) -> None:
    with pytest.raises(GraphError, match=r"^input x has no fixed shape: \(2, -1\)$"):
        load().parse(graph)


def test_a_missing_module_says_how_to_get_it() -> None:
    with pytest.raises(BackendError, match=r"not installed: on a Jetson .*--system-site-packages"):
        load_builder_library(TENSORRT)


def test_a_file_that_is_no_module_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrapper.txt"
    path.write_text("nothing")
    with pytest.raises(BackendError, match=r"wrapper\.txt does not load: it is no Python file"):
        load_builder_library(replace(TENSORRT, library=str(path)))


def test_a_missing_gpu_is_no_complaint_ahead_of_time_but_missing_memory_is(load: Load) -> None:
    complaints = Complaints()
    logger = load("rtx-1.7")._make_logger(complaints)
    logger.log(
        logger.Severity.ERROR, "Error Code 35: Cuda Runtime (CUDA driver version is insufficient)"
    )
    assert complaints.errors == []
    logger.log(logger.Severity.ERROR, "Error Code 1: Cuda Runtime\n (out of memory)")
    assert complaints.errors == ["Error Code 1: Cuda Runtime (out of memory)"]
    assert complaints.out_of_memory


def test_lesser_messages_are_no_complaints(load: Load) -> None:
    complaints = Complaints()
    logger = load()._make_logger(complaints)
    for severity in (logger.Severity.WARNING, logger.Severity.INFO, logger.Severity.VERBOSE):
        logger.log(severity, "out of memory")
    assert complaints == Complaints()


def test_the_module_is_used_behind_the_seam_only() -> None:
    """No other file of the engines asks NVIDIA's modules for anything."""
    users = set()
    for path in ENGINES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {
                "OnnxParser",
                "BuilderFlag",
                "create_builder_config",
            }:
                users.add(path.name)
    assert users == {"tensorrt_library.py"}
