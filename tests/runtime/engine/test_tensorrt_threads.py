"""TensorRT's engines where an interrupt or another thread comes between two of their steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.backends.tensorrt_rtx import _keep_in
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.files.sealed_file import read_sealed

REFERENCE = np.arange(4, dtype=np.float32)[None]


@pytest.fixture
def engine(
    small_graph: Callable[..., tuple[Path, SubnetSpec]],
    fakes: Any,
    make_tensorrt: Callable[..., Any],
    tmp_path: Path,
) -> Any:
    """The small network on a fake TensorRT."""
    graph, spec = small_graph("float32")
    make_tensorrt("10.3")
    plan = fakes.write_plan(
        tmp_path / "small.plan", graph, ["product", "difference"], version="10.3", device=None
    )
    backend: Any = load_backend("tensorrt")
    return backend.open_engine(plan, spec, EngineOptions())


def give(engine: Any, noise: float) -> list[float]:
    """The product, of numbers that are all ``noise``."""
    found = engine({"noise": np.full((1, 4), noise, np.float32), "reference": REFERENCE})
    return [float(value) for value in found["product"][0]]


def test_an_interrupt_while_a_graph_is_recorded_spoils_no_later_call(
    engine: Any, cuda: Any
) -> None:
    def interrupt(stream: int) -> bool:
        raise KeyboardInterrupt

    give(engine, 1)
    execute = engine._execute
    engine._execute = interrupt
    with pytest.raises(KeyboardInterrupt):
        give(engine, 2)
    engine._execute = execute
    assert give(engine, 3) == [0, 3, 6, 9]
    assert (engine.notes, cuda.calls["cudaGraphLaunch"]) == ([], 1)


def test_the_library_may_complain_in_one_thread_while_another_asks_what_it_said(
    engine: Any,
) -> None:
    library = engine._library

    class Kind:
        """Another complaint comes while somebody looks whether this one is an error."""

        def __bool__(self) -> bool:
            library._complaints.append((False, "another"))
            return True

    library._complaints.extend([(Kind(), "the reason"), (False, "a warning")])
    assert library.explain() == ": the reason"


class FakeKernels:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content


def test_a_file_of_kernels_written_by_two_processes_of_one_number_at_once_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "kernels"

    def open_late(path: Path, mode: str) -> Any:
        monkeypatch.undo()
        _keep_in(file, FakeKernels(b"b" * 50), key="k")()  # as another container's process does
        return path.open(mode)

    monkeypatch.setattr(Path, "open", open_late)
    _keep_in(file, FakeKernels(b"a" * 100), key="k")()
    assert read_sealed(file, key="k") == b"a" * 100
