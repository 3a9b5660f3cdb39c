"""Which sink an output's name asks for: an mp4 with its sound, a folder of PNGs, or raw RGB."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.sound.stored import StoredSound
from echoexport.runtime.sinks.png_folder import PngFolderSink
from echoexport.runtime.sinks.raw import RawSink, open_stdout
from echoexport.runtime.sinks.sink import FrameSink

__all__ = ["open_sink"]

_VIDEO_SUFFIXES = (".mp4", ".mov")


def open_sink(
    out: str | Path,
    *,
    size: tuple[int, int],
    fps: int | float | Fraction,
    voice_path: str | Path | StoredSound | None = None,
    voice_samples: NDArray[np.float32] | None = None,
) -> FrameSink:
    """Choose a sink by the output's name.

    ``-`` is raw RGB24 on stdout, ``.mp4`` or ``.mov`` a video, all else a PNG folder.
    ``size`` is (width, height). The sound, for videos only, is the track of
    ``voice_path`` or else ``voice_samples``, (n,) at 16 kHz. Nothing is touched before
    the sink is entered.

    Raises ``SettingError`` for no name, a suffix that no sink writes, a size or rate it
    cannot take, or a terminal.
    """
    if str(out) == "-":
        return RawSink(open_stdout(), size=size)
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
        from echoexport.runtime.sinks.mp4 import Mp4Sink

        return Mp4Sink(path, size=size, fps=fps, voice_path=voice_path, voice_samples=voice_samples)
    if path.suffix and not str(out).endswith("/") and not path.is_dir():
        raise SettingError(
            f"output {out}: no way to write {path.suffix}; name a .mp4 or .mov file, a folder "
            "for PNGs (no suffix, or a / at the end), or - for raw RGB on stdout"
        )
    return PngFolderSink(path, size=size)
