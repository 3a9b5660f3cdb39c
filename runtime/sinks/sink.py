"""What a sink is, and the checks that all sinks share."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import SettingError
from echoexport.runtime.trace.tracer import Tracer

SinkT = TypeVar("SinkT", bound="FrameSink")


class FrameSink(Protocol):
    """Takes frames in order; a context manager.

    A clean exit commits, any exception leaves nothing behind.
    """

    def __enter__(self: SinkT) -> SinkT:
        """Claim the place to write to. Raises ``OutputError`` where nothing can be written."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or clean up after ``error``. Raises ``OutputError`` when the commit fails."""
        ...

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, (H, W, 3) uint8 RGB. Raises ``OutputError`` or ``SettingError``."""
        ...


class TracedSink:
    """Another sink whose work a tracer sees.

    "open output", then "encode" for each frame, then "mux" for its end.
    """

    def __init__(self, sink: FrameSink, tracer: Tracer) -> None:
        self._sink = sink
        self._tracer = tracer
        self._count = 0

    def __enter__(self) -> TracedSink:
        """Enter the sink. Raises what it raises, as do the other methods."""
        with self._tracer.span("open output", "encode"):
            self._sink.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the sink."""
        with self._tracer.span("mux", "encode"):
            self._sink.__exit__(kind, error, trace)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame."""
        with self._tracer.span("encode", "encode", frame=self._count):
            self._sink.write(frame)
        self._count += 1


def check_frame(frame: NDArray[Any], size: tuple[int, int] | None) -> None:
    """Raise ``SettingError`` unless ``frame`` is (H, W, 3) uint8.

    Its size has to be ``size`` (W, H) where that is known.
    """
    shape = getattr(frame, "shape", None)
    dtype = getattr(frame, "dtype", None)
    wanted = ("H", "W", 3) if size is None else (size[1], size[0], 3)
    fits = shape is not None and len(shape) == 3 and shape[2] == 3 and shape[0] and shape[1]
    if dtype != np.uint8 or not fits or (size is not None and shape != wanted):
        layout = ", ".join(str(side) for side in wanted)
        raise SettingError(
            f"frame of shape {shape} and dtype {dtype}: ({layout}) uint8 RGB is wanted"
        )
