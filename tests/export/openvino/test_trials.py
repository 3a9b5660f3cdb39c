"""Graphs timed in turns, and what a runner gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from echoexport.export.openvino.trials import Runner, compare
from echoexport.runtime.errors import BackendError


class Scripted:
    """A runner whose calls take as long as it is told."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = seconds
        self._calls = 0

    def time(self, calls: int) -> float:
        self._calls += 1
        return calls * self._seconds[self._calls % len(self._seconds)]


def test_a_runner_gives_the_outputs_by_name(sketch: Any, tmp_path: Path) -> None:
    draft = sketch()
    draft.add("Add", draft.input(2, 3, name="x"), draft.number(1.0), name="sum")
    path = tmp_path / "graph.onnx"
    path.write_bytes(draft.model("sum").SerializeToString())
    runner = Runner(path, {"x": np.zeros((2, 3), np.float32)}, compute="fp32")
    np.testing.assert_array_equal(runner.run()["sum"], np.ones((2, 3)))
    assert runner.time(3) >= 0


def test_a_graph_that_does_not_compile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(BackendError, match="cannot compile"):
        Runner(path, {}, compute="fp32")


def test_a_comparison_gives_the_median_ratio_and_the_medians_of_a_call() -> None:
    ratio, first, second = compare(Scripted(0.02), Scripted(0.01), seconds=0.0)  # type: ignore[arg-type]
    assert (ratio, first, second) == pytest.approx((2.0, 0.02, 0.01))


def test_a_disturbed_turn_does_not_decide() -> None:
    disturbed = Scripted(0.01, 0.01, 0.01, 0.01, 0.2)
    ratio, _, _ = compare(disturbed, Scripted(0.01), seconds=0.0)  # type: ignore[arg-type]
    assert ratio == pytest.approx(1.0)
