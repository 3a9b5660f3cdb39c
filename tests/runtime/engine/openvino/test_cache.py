"""OpenVINO's compiled models in the cache: what is damaged or of something else is made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.backends import openvino
from echoexport.runtime.backends.openvino import OpenVINOEngine
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.engine.protocol import EngineOptions

pytest.importorskip("openvino")

AXES = (("batch", 2), ("channels", 4), ("height", 6), ("width", 5))
SPEC = SubnetSpec(
    "norms", (TensorSpec("x", "float32", AXES),), (TensorSpec("y", "float32", AXES),), TOLERANCES
)
PICTURE = np.random.default_rng(1).standard_normal((2, 4, 6, 5)).astype(np.float32)


@pytest.fixture
def graph(tmp_path: Path, norm_graph: Callable[..., bytes]) -> Path:
    path = tmp_path / "norms.onnx"
    path.write_bytes(norm_graph(2))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def open_it(graph: Path, cache: Path | None, **options: int) -> OpenVINOEngine:
    return openvino.BACKEND.open(graph, SPEC, EngineOptions(cache=cache, **options))


def compute(engine: OpenVINOEngine) -> np.ndarray:
    return engine({"x": PICTURE})["y"]


def entries_of(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "compile_graph", lambda *_, **__: pytest.fail("compiled again"))


def test_a_compiled_model_is_found_again(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_it(graph, cache)
    forbid_compiling(monkeypatch)
    again = open_it(graph, cache)
    assert np.array_equal(compute(first), compute(again))
    assert again.notes == ()


def test_a_flipped_bit_is_noticed_and_the_model_made_anew(graph: Path, cache: Path) -> None:
    wanted = compute(open_it(graph, None))
    open_it(graph, cache)
    (entry,) = entries_of(cache)
    whole = entry.read_bytes()
    for place in np.random.default_rng(2).integers(0, 8 * len(whole), 12):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << (place % 8)
        entry.write_bytes(flipped)
        engine = open_it(graph, cache)
        assert np.array_equal(compute(engine), wanted)
        assert engine.notes == (
            "norms: its compiled model in the cache was damaged, and was made anew",
        )
        assert open_it(graph, cache).notes == ()


def test_one_of_another_graph_is_not_taken(
    graph: Path, cache: Path, norm_graph: Callable[..., bytes]
) -> None:
    wanted = compute(open_it(graph, None))
    open_it(graph, cache)
    (own,) = entries_of(cache)
    graph.with_name("other.onnx").write_bytes(norm_graph(4, scale=3.0))
    open_it(graph.with_name("other.onnx"), cache)
    (other,) = {*entries_of(cache)} - {own}
    own.write_bytes(other.read_bytes())
    engine = open_it(graph, cache)
    assert np.array_equal(compute(engine), wanted)
    assert len(engine.notes) == 1


def test_other_settings_have_models_of_their_own(graph: Path, cache: Path) -> None:
    open_it(graph, cache, threads=1)
    open_it(graph, cache, lanes=2)
    assert len(entries_of(cache)) == 2
    assert open_it(graph, cache, lanes=2).lanes == 2


def test_what_the_library_kept_in_older_releases_goes(graph: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "1234.blob").write_bytes(b"the library's own")
    open_it(graph, cache)
    assert [path.suffix for path in entries_of(cache)] == [".engine"]


def test_a_model_that_cannot_be_kept_runs_and_says_so(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("echoexport.runtime.engine.openvino.cache.write_sealed", refuse)
    engine = open_it(graph, cache)
    assert np.array_equal(compute(engine), compute(open_it(graph, None)))
    assert engine.notes == (
        "norms: its compiled model could not be kept: [Errno 28] No space left on device",
    )
