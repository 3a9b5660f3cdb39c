"""Engines and backends as base classes: one that says nothing of itself is right by default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import (
    Arrays,
    Backend,
    Engine,
    EngineOptions,
    make_cache,
)
from echoexport.runtime.errors import BackendError
from echoexport.runtime.trace.tracer import Tracer

SPEC = SubnetSpec("small", (), (), {})


class PlainEngine(Engine):
    """Doubles what it is given, and says nothing of itself but its precision."""

    precision = "fp32"

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return {name: 2 * array for name, array in inputs.items()}

    def close(self) -> None:
        """Nothing to close."""


class PlainBackend(Backend):
    """Opens plain engines, and says nothing of itself but its name."""

    name = "plain"

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "doubles"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> Engine:
        return PlainEngine()


def test_an_engine_that_says_nothing_has_one_lane_no_notes_and_times_no_layers() -> None:
    engine = PlainEngine()
    assert (engine.lanes, tuple(engine.notes), engine.read_layers()) == (1, (), None)


def test_an_engine_that_has_nothing_to_tell_a_tracer_runs_as_it_is_called() -> None:
    tracer = Tracer()
    found = PlainEngine().run({"x": np.arange(3)}, tracer)
    assert (found["x"].tolist(), tracer.spans()) == ([0, 2, 4], ())


def test_a_backend_that_says_nothing_computes_in_fp32_on_the_cpu_from_graphs() -> None:
    backend = PlainBackend()
    assert backend.arithmetic() == ("fp32",)
    assert (backend.on_gpu, backend.opens_graphs, backend.keeps_engines) == (False, True, False)


def test_what_a_backend_without_kept_engines_is_asked_of_them_is_refused_with_its_name() -> None:
    with pytest.raises(BackendError, match="backend 'plain' keeps no engines"):
        PlainBackend().fingerprint(EngineOptions())
    with pytest.raises(BackendError, match="backend 'plain' opens no compiled engines"):
        PlainBackend().open_engine(Path("small.plan"), SPEC, EngineOptions())


def test_a_backend_whose_engines_are_files_keeps_them() -> None:
    class Keeping(PlainBackend):
        engine_suffix = ".plan"

    assert Keeping().keeps_engines


@pytest.mark.parametrize(
    "missing", [("__call__",), ("close",), ("__call__", "close")], ids="+".join
)
def test_an_engine_without_what_every_engine_does_cannot_be_made(missing: tuple[str, ...]) -> None:
    methods = {"__call__": PlainEngine.__call__, "close": PlainEngine.close}
    partial = type("Partial", (Engine,), {n: f for n, f in methods.items() if n not in missing})
    with pytest.raises(TypeError, match="abstract"):
        partial()


def test_a_cache_is_made_with_all_the_folders_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "one"
    assert make_cache(folder) == folder
    assert folder.is_dir()
    assert make_cache(None) is None


def test_a_cache_that_cannot_be_made_is_told_once_and_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match=r"the engine cache .*/file cannot be made"):
        assert make_cache(tmp_path / "file" / "one") is None
