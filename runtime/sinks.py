"""Where finished frames go: an mp4 with its sound, a folder of PNGs, or raw RGB to a pipe."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.trace import Tracer

__all__ = [
    "FrameSink",
    "PngFolderSink",
    "RawSink",
    "TracedSink",
    "check_frame",
    "name_staging",
    "open_sink",
    "refuse_output",
]

_VIDEO_SUFFIXES = (".mp4", ".mov")
_SinkT = TypeVar("_SinkT", bound="FrameSink")


class FrameSink(Protocol):
    """Takes frames in order; a context manager.

    A clean exit commits, any exception leaves nothing behind.
    """

    def __enter__(self: _SinkT) -> _SinkT:
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


def open_sink(
    out: str | Path,
    *,
    size: tuple[int, int],
    fps: int | float | Fraction,
    voice_path: str | Path | None = None,
    voice_samples: NDArray[np.float32] | None = None,
) -> FrameSink:
    """Choose a sink by the output's name.

    ``-`` raw RGB24 on stdout, ``.mp4`` or ``.mov``, else a PNG folder.

    ``size`` is (width, height). The sound, for videos only, is the track of
    ``voice_path`` or else ``voice_samples``, (n,) at 16 kHz. Nothing is touched before
    the sink is entered.

    Raises ``SettingError`` for no name, a suffix that no sink writes, a size or rate it
    cannot take, or a terminal.
    """
    if str(out) == "-":
        return RawSink(_open_stdout(), size=size)
    path = Path(out)
    if not str(out).strip() or (
        path.name.lower() in _VIDEO_SUFFIXES and not str(out).endswith("/")
    ):
        # a script whose variable is empty would get a hidden folder of pictures, or
        # fill the one it is in
        raise SettingError(
            f"output {str(out)!r}: has no name; name a file, e.g. clip.mp4, or a folder for PNGs"
        )
    if path.suffix.lower() in _VIDEO_SUFFIXES and not str(out).endswith("/"):
        from echoexport.runtime.mp4 import Mp4Sink

        return Mp4Sink(path, size=size, fps=fps, voice_path=voice_path, voice_samples=voice_samples)
    if path.suffix and not str(out).endswith("/") and not path.is_dir():
        raise SettingError(
            f"output {out}: no way to write {path.suffix}; name a .mp4 or .mov file, a folder "
            "for PNGs (no "
            "suffix, or a / at the end), or - for raw RGB on stdout"
        )
    return PngFolderSink(path, size=size)


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


class PngFolderSink:
    """Writes frame_00000.png, frame_00001.png ...

    Into a new folder, which appears whole or not at all.
    """

    def __init__(self, folder: str | Path, *, size: tuple[int, int] | None = None) -> None:
        self.folder = Path(folder)
        self._size = size
        self._staging = name_staging(self.folder)
        self._count = 0

    def __enter__(self) -> PngFolderSink:
        """Make the folder to write into, beside the target. Raises ``OutputError``."""
        self._refuse_occupied()
        try:
            self._staging.mkdir()
        except OSError as error:
            raise refuse_output(self.folder, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the folder to its name after a clean run; remove it after any other."""
        try:
            if kind is None:
                self._commit()
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Write the next PNG. Raises ``OutputError`` or ``SettingError``."""
        from PIL import Image

        check_frame(frame, self._size)
        self._size = (frame.shape[1], frame.shape[0])
        try:
            Image.fromarray(frame).save(self._staging / f"frame_{self._count:05d}.png")
        except OSError as error:
            raise refuse_output(self.folder, error) from error
        self._count += 1

    def _refuse_occupied(self) -> None:
        try:
            occupied = self.folder.is_dir() and any(self.folder.iterdir())
        except OSError as error:
            raise refuse_output(self.folder, error) from error
        if occupied:
            raise OutputError(
                f"{self.folder}: the folder is not empty; remove it, or name a new one"
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: a file is in the way; name a new folder, or a .mp4")

    def _commit(self) -> None:
        if not self._count:
            raise OutputError(f"{self.folder}: no frame was written, so there is no folder to keep")
        self._refuse_occupied()
        try:
            with suppress(FileNotFoundError):
                self.folder.rmdir()  # an empty one; renaming onto a folder works on some systems only
            self._staging.rename(self.folder)
        except OSError as error:
            raise refuse_output(self.folder, error) from error


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


def check_frame(frame: NDArray[Any], size: tuple[int, int] | None) -> None:
    """Raise ``SettingError`` unless ``frame`` is (H, W, 3) uint8, and of ``size`` = (W, H) if known."""
    shape = getattr(frame, "shape", None)
    dtype = getattr(frame, "dtype", None)
    wanted = ("H", "W", 3) if size is None else (size[1], size[0], 3)
    fits = shape is not None and len(shape) == 3 and shape[2] == 3 and shape[0] and shape[1]
    if dtype != np.uint8 or not fits or (size is not None and shape != wanted):
        layout = ", ".join(str(side) for side in wanted)
        raise SettingError(
            f"frame of shape {shape} and dtype {dtype}: ({layout}) uint8 RGB is wanted"
        )


def refuse_output(place: str | Path, error: Exception) -> OutputError:
    """The ``OutputError`` that says where writing failed, why, and what would help."""
    if isinstance(error, BrokenPipeError):
        return OutputError(f"{place}: the program reading it has ended")
    if isinstance(error, FileNotFoundError):
        return OutputError(
            f"{place}: its folder does not exist; make it first: mkdir -p {Path(place).parent}"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"{place}: cannot be written ({reason}); choose another place or make room")


def name_staging(target: Path) -> Path:
    """A new hidden name beside ``target``, to write to before the rename."""
    name = target.absolute().name
    return target.absolute().parent / f".{name[:64]}.{os.getpid()}-{secrets.token_hex(4)}.part"


def _open_stdout() -> BinaryIO | io.RawIOBase:
    """Standard output without a buffer of ours, which could fail once more when Python ends."""
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
