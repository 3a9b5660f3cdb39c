"""A captured step: a few plain runs, one recording, then batches copied to its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from echoexport.export.demo.training.captured import CapturedStep


class FakeGraph:
    """What is recorded runs again, on the very tensors that it was recorded with."""

    recording: FakeGraph | None = None

    def __init__(self) -> None:
        self.again: Callable[[], None] = lambda: None
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        self.again()


class FakeStream:
    def __init__(self) -> None:
        self.waited = 0

    def wait_stream(self, _: object) -> None:
        self.waited += 1


class Doubler:
    """A step that writes twice its batch into one tensor, as kernels would."""

    def __init__(self) -> None:
        self.calls = 0
        self.out = torch.zeros(2)

    def __call__(self, value: Tensor) -> dict[str, Tensor]:
        self.calls += 1

        def run() -> None:
            self.out.copy_(2 * value)

        if FakeGraph.recording is None:
            run()
        else:
            FakeGraph.recording.again = run  # a graph that is recorded does not run yet
        return {"doubled": self.out}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[FakeGraph]:
    """The graphs that are recorded, in place of a GPU's."""
    made: list[FakeGraph] = []

    @contextlib.contextmanager
    def record(graph: FakeGraph) -> Iterator[None]:
        made.append(graph)
        FakeGraph.recording = graph
        yield
        FakeGraph.recording = None

    fakes: dict[str, Any] = {
        "CUDAGraph": FakeGraph,
        "graph": record,
        "Stream": FakeStream,
        "current_stream": FakeStream,
        "stream": lambda stream: contextlib.nullcontext(),
        "synchronize": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return made


def test_the_first_three_steps_run_as_they_are(graphs: list[FakeGraph]) -> None:
    captured = CapturedStep()
    double = Doubler()
    for value in (1.0, 2.0, 3.0):
        figures = captured.run(double, (torch.full((2,), value),))
        assert figures["doubled"].tolist() == [2 * value] * 2
    assert double.calls == 3
    assert not graphs


def test_a_recorded_step_is_replayed_with_every_later_batch(graphs: list[FakeGraph]) -> None:
    captured = CapturedStep()
    double = Doubler()
    for step in range(8):
        figures = captured.run(double, (torch.full((2,), float(step)),))
        assert figures["doubled"].tolist() == [2.0 * step] * 2
    assert double.calls == 4, "three plain runs and the recording"
    (graph,) = graphs
    assert graph.replays == 5


def test_the_recording_reads_no_callers_tensor(graphs: list[FakeGraph]) -> None:
    captured = CapturedStep()
    double = Doubler()
    for _ in range(3):
        captured.run(double, (torch.zeros(2),))
    batch = torch.ones(2)
    captured.run(double, (batch,))
    batch.fill_(100)
    graphs[0].replay()
    assert double.out.tolist() == [2, 2]
