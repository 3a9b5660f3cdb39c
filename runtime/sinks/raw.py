"""Frames as raw RGB24 on a stream."""

from __future__ import annotations

import io
import sys
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.files.aside import refuse_output
from echoexport.runtime.sinks.sink import check_frame


class RawSink:
    """Writes raw RGB24, row by row, frame after frame, to a binary stream.

    What is sent stays sent.
    """

    def __init__(
        self, stream: BinaryIO | io.RawIOBase, *, size: tuple[int, int] | None = None
    ) -> None:
        self._stream = stream
        self._size = size

    def __enter__(self) -> RawSink:
        """Do nothing: the stream is open already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush; the stream stays open, as it is the caller's."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as failure:
            if kind is None:
                raise refuse_output("raw output", failure) from failure

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Send one frame. Raises ``OutputError`` (reader gone, disk full) or ``SettingError``."""
        check_frame(frame, self._size)
        self._size = (frame.shape[1], frame.shape[0])
        rest = memoryview(np.ascontiguousarray(frame).tobytes())
        try:
            while rest:  # an unbuffered stream may take a part only
                sent = self._stream.write(rest)
                if not sent:
                    raise OutputError("raw output: the stream takes no more; give a blocking one")
                rest = rest[sent:]
        except (OSError, ValueError) as error:
            raise refuse_output("raw output", error) from error


def open_stdout() -> BinaryIO | io.RawIOBase:
    """Standard output without a buffer of ours, which could fail once more when Python ends.

    Raises:
        SettingError: it is a terminal. OutputError: it is closed, or cannot be written.
    """
    if sys.stdout is None or sys.stdout.closed:  # None: closed before Python began
        raise OutputError("output -: standard output is closed; pipe it, or name a .mp4")
    if sys.stdout.isatty():
        raise SettingError(
            "output -: raw frames would go to the terminal; pipe them, or name a .mp4"
        )
    try:
        sys.stdout.flush()
        return io.FileIO(sys.stdout.fileno(), "wb", closefd=False)
    except (io.UnsupportedOperation, AttributeError):  # replaced by something that is no file
        return sys.stdout.buffer
    except OSError as error:
        raise refuse_output("raw output", error) from error
