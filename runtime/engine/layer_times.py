"""How long an engine's layers took, as its library's own profiler tells it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

__all__ = ["LayerClock", "LayerRecord", "make_trt_profiler", "split_trt_name"]


@dataclass(frozen=True)
class LayerRecord:
    """One layer of an engine: what the library made of one or more nodes of the graph."""

    name: str
    """The library's."""
    kind: str
    """The library's word for what it does."""
    seconds: float
    """Of one call, the median, by the library's clock."""
    origins: tuple[str, ...] = ()
    """Names that may be those of the graph's nodes, where the library tells them;
    "a...b" is all from one to the other."""
    after: tuple[str, ...] = ()
    """The layers whose outputs it reads."""


class LayerClock:
    """Collects what a library reports, layer by layer, in the shape of TensorRT's ``IProfiler``.

    Every call of the engine reports each layer once, so a layer that comes again counts
    as one more call. The first call warms up: it counts only until there is another.
    """

    def __init__(self) -> None:
        self._calls: dict[str, list[float]] = {}

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        """One layer of one call took so many milliseconds."""
        self._calls.setdefault(layer_name, []).append(ms / 1e3)

    def medians(self) -> dict[str, float]:
        """Seconds of each layer in a call, in the order in which they were first reported.

        Medians, since on a shared machine a call now and then is interrupted in the
        midst of some layer.
        """
        return {name: statistics.median(calls[1:] or calls) for name, calls in self._calls.items()}

    def read_layers(self) -> tuple[LayerRecord, ...]:
        """The same as records of TensorRT's layers.

        A layer's name is made of the names of the nodes that it was made of.
        """
        return tuple(
            LayerRecord(name, _find_trt_kind(name), seconds, split_trt_name(name))
            for name, seconds in self.medians().items()
        )


def make_trt_profiler(library: Any, clock: LayerClock) -> Any:
    """``clock`` as an object of TensorRT's own class, for ``context.profiler``.

    ``library`` is the TensorRT module. While one is set, TensorRT waits for the end of
    every layer to time it.
    """

    class _Profiler(library.IProfiler):  # type: ignore[misc]  # a class of the module that is given
        def __init__(self) -> None:
            super().__init__()  # of the binding, which takes no object without it

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            clock.report_layer_time(layer_name, ms)

    return _Profiler()


def split_trt_name(name: str) -> tuple[str, ...]:
    """The node names that a TensorRT layer's name is made of; a range "a...b" stays one.

    Seen are "a + b", "PWN(a, b)", "{ForeignNode[a...b]}" and "Reformatting CopyNode for
    Input Tensor 0 to a".
    """
    if name.startswith("Reformatting"):
        name = name.rpartition(" to ")[2]
    for mark in ("PWN(", "ForeignNode[", "[", "]", "{", "}", "(", ")", ",", " + "):
        name = name.replace(mark, "\0")
    return tuple(dict.fromkeys(part.strip() for part in name.split("\0") if part.strip()))


def _find_trt_kind(name: str) -> str:
    for start, kind in (
        ("Reformatting", "Reformat"),
        ("PWN", "PointWise"),
        ("{ForeignNode", "ForeignNode"),
    ):
        if name.startswith(start):
            return kind
    return "Layer"
