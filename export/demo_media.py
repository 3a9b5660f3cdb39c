"""A portrait and a voice of the project's own making, as the two files that the demo is run with."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from echoexport.export.demo_portrait import draw_portrait, portrait_face_box
from echoexport.export.demo_voice import synthesize_voice
from echoexport.runtime.sinks import name_staging, refuse_output

__all__ = ["draw_portrait", "portrait_face_box", "synthesize_voice", "write_demo_media"]

SAMPLE_RATE = 16000


def write_demo_media(folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write ``portrait.png`` (512 px) and ``voice.wav`` (4 s, 16 kHz, mono) into a folder.

    Returns both paths. The folder is made where it is missing, and each file is whole or as it was before.
    Raises OutputError where nothing can be written.
    """
    portrait, voice = Path(folder) / "portrait.png", Path(folder) / "voice.wav"
    _write_aside(portrait, _write_png)
    _write_aside(voice, _write_wav)
    return portrait, voice


def _write_aside(target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write under another name beside the target, then rename."""
    staging = name_staging(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with staging.open("xb") as file:
                write(file)
            staging.replace(target)
        finally:
            staging.unlink(missing_ok=True)
    except OSError as error:
        raise refuse_output(target, error) from error


def _write_png(file: BinaryIO) -> None:
    from PIL import Image

    Image.fromarray(draw_portrait()).save(file, "png")


def _write_wav(file: BinaryIO) -> None:
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(SAMPLE_RATE)
        recording.writeframes(synthesize_voice(sample_rate=SAMPLE_RATE).astype("<i2").tobytes())
