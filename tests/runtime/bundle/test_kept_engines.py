"""A compiled model that a cache keeps: of judged graphs alone, its files looked at all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle import opening
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.engine.openvino.cache import ModelCache
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
from echoexport.runtime.errors import BundleError
from echoexport.runtime.files.held_file import HeldFile

NAME = "landmark_encoder"


class Judging:
    """Counts the graphs that are judged."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *arguments: Any, **settings: Any) -> None:
        self.count += 1
        self.judge(*arguments, **settings)

    judge = staticmethod(opening.judge_network)


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch) -> Judging:
    judging = Judging()
    monkeypatch.setattr(opening, "judge_network", judging)
    return judging


@pytest.fixture
def openvino() -> Backend:
    pytest.importorskip("openvino")
    return load_backend("openvino")


def open_with(folder: Path, backend: Backend, cache: Path | None) -> Bundle:
    options = EngineOptions(threads=1, cache=cache)
    return Bundle(folder, read_manifest(folder), backend=backend, options=options)


def compute(bundle: Bundle) -> Any:
    (given,) = bundle.manifest.networks[NAME].inputs
    picture = np.random.default_rng(4).standard_normal(given.shape).astype(np.float32)
    (result,) = bundle.network(NAME)({given.name: picture}).values()
    return result


def compute_anew(folder: Path, backend: Backend, cache: Path | None) -> Any:
    with open_with(folder, backend, cache) as bundle:
        return compute(bundle)


def find_kept(cache: Path) -> Path:
    (kept,) = cache.rglob("*.engine")
    return kept


def test_what_is_kept_gives_the_same_and_its_graph_is_not_judged_again(
    computing_bundle: Path, openvino: Backend, judging: Judging, tmp_path: Path
) -> None:
    wanted = compute_anew(computing_bundle, openvino, tmp_path)
    assert judging.count == 1
    found = compute_anew(computing_bundle, openvino, tmp_path)
    assert np.array_equal(found, wanted)
    assert judging.count == 1


@pytest.mark.parametrize("name", ["openvino", "ort"])
def test_where_nothing_is_kept_each_opening_judges(
    computing_bundle: Path, judging: Judging, name: str
) -> None:
    pytest.importorskip({"openvino": "openvino", "ort": "onnxruntime"}[name])
    for count in (1, 2):
        compute_anew(computing_bundle, load_backend(name), None)
        assert judging.count == count


def test_what_an_earlier_judgement_let_pass_is_judged_again(
    computing_bundle: Path,
    openvino: Backend,
    judging: Judging,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compute_anew(computing_bundle, openvino, tmp_path)
    monkeypatch.setattr(opening, "JUDGEMENT", "a stricter one")
    compute_anew(computing_bundle, openvino, tmp_path)
    assert judging.count == 2


def test_damage_of_what_is_kept_brings_the_graph_back_and_it_is_judged(
    computing_bundle: Path, openvino: Backend, judging: Judging, tmp_path: Path
) -> None:
    wanted = compute_anew(computing_bundle, openvino, tmp_path)
    kept = find_kept(tmp_path)
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    with open_with(computing_bundle, openvino, tmp_path) as bundle:
        assert np.array_equal(compute(bundle), wanted)
        (note,) = bundle.notes()
        assert "was damaged, and was made anew" in note
    assert judging.count == 2


def test_a_cache_that_holds_nothing_is_looked_into_once(
    computing_bundle: Path, openvino: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[object]()
    real = ModelCache.load

    def look(self: ModelCache, *arguments: Any) -> Any:
        looks.append(self)
        return real(self, *arguments)

    monkeypatch.setattr(ModelCache, "load", look)
    compute_anew(computing_bundle, openvino, tmp_path)
    assert len(looks) == 1
    compute_anew(computing_bundle, openvino, tmp_path)
    assert len(looks) == 2
    assert find_kept(tmp_path)


@pytest.mark.parametrize("suffix", ["onnx", "bin"])
def test_damaged_files_are_refused_though_a_model_is_kept_of_them(
    computing_bundle: Path, openvino: Backend, tmp_path: Path, suffix: str
) -> None:
    compute_anew(computing_bundle, openvino, tmp_path)
    path = computing_bundle / f"{NAME}.{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{NAME}\.{suffix}: sha256 is "):
        compute_anew(computing_bundle, openvino, tmp_path)


def test_a_graph_that_none_of_ours_is_has_nothing_kept_to_come_in_by(
    computing_bundle: Path,
    openvino: Backend,
    tmp_path: Path,
    rewrite: Callable[[Path, str, bytes], None],
) -> None:
    compute_anew(computing_bundle, openvino, tmp_path)
    graph = (computing_bundle / f"{NAME}.onnx").read_bytes()
    rewrite(computing_bundle, f"{NAME}.onnx", graph.replace(b"Conv", b"Flop"))
    with pytest.raises(BundleError, match="is of operator 'Flop', which none of ours has"):
        compute_anew(computing_bundle, openvino, tmp_path)


class Keeping(Backend):
    """Keeps an engine of everything, or fails at it, and meanwhile does something to a file."""

    name = "keeping"

    def __init__(self, change: Callable[[Path], object]) -> None:
        self.closed = 0
        self._change = change

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "any backend"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> Engine:
        raise AssertionError("it keeps an engine of everything")

    def open_kept(self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions) -> Engine:
        self._change(files.beside[0].path)
        return KeptEngine(self)


class KeptEngine(Engine):
    """Counts that it was closed."""

    precision = "fp32"

    def __init__(self, backend: Keeping) -> None:
        self._backend = backend

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        raise AssertionError("it is not called")

    def close(self) -> None:
        self._backend.closed += 1


def overwrite_it(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def test_files_that_change_while_a_kept_engine_is_opened_are_refused(
    computing_bundle: Path,
) -> None:
    backend = Keeping(overwrite_it)
    with (
        open_with(computing_bundle, backend, None) as bundle,
        pytest.raises(BundleError, match=rf"{NAME}\.bin: "),
    ):
        bundle.network(NAME)
    assert backend.closed >= 1


def test_an_interrupt_does_not_wait_for_hashes(
    computing_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    def stop(file: HeldFile) -> None:
        stopped.append(file.path.name)

    monkeypatch.setattr(HeldFile, "stop_reading", stop)
    with (
        open_with(computing_bundle, Keeping(interrupt), None) as bundle,
        pytest.raises(KeyboardInterrupt),
    ):
        bundle.network(NAME)
    assert stopped == [f"{NAME}.bin"]
