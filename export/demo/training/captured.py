"""A training step as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]
"""The tensors of one step, of the same shapes at every step."""


class CapturedStep:
    """Runs a step of thousands of small kernels as one CUDA graph.

    A replay costs the host next to nothing.

    The first steps run as they are, which also readies the libraries; then one is
    recorded, and from then on replayed with every batch copied into the recorded one's
    place.
    """

    _EAGER_STEPS = 3

    def __init__(self) -> None:
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch = ()
        self._figures: dict[str, Tensor] = {}

    def run(self, update: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        """The step's figures, scalars on the device."""
        if self._done < self._EAGER_STEPS:
            self._done += 1
            return self._run_aside(update, batch)
        if self._graph is None:
            self._batch = tuple(tensor.clone() for tensor in batch)
            torch.cuda.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._figures = update(*self._batch)
        else:
            for place, tensor in zip(self._batch, batch, strict=True):
                place.copy_(tensor)
        self._graph.replay()
        return self._figures

    @staticmethod
    def _run_aside(update: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        """On a stream of its own, as capturing wants its rehearsals."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            figures = update(*batch)
        torch.cuda.current_stream().wait_stream(stream)
        return figures
