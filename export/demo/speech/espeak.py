"""A sentence said by espeak-ng: 16 kHz samples, and when each of its sounds starts and ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.speech.motion import Phone, Timeline
from echoexport.export.demo.speech.visemes import is_pause
from echoexport.runtime.errors import BackendError, SettingError
from echoexport.runtime.inputs.voice import voice_from_samples

__all__ = ["DATA_VARIABLE", "Speaker", "Speech", "is_available", "speak"]

DATA_VARIABLE = "ECHOEXPORT_ESPEAK_DATA"
"""Names the folder that holds ``espeak-ng-data`` where the library does not find it by
itself."""

_SCRIPT = Path(__file__).with_name("espeak_process.py")
_TIMEOUT = 120.0  # seconds; a sentence takes 0.1


@dataclass(frozen=True)
class Speaker:
    """Who speaks: an espeak-ng voice and how it is set."""

    voice: str
    """Language and variant, as en-us+f3."""
    speed: int = 165
    """Words a minute, 80 to 450."""
    pitch: int = 50
    """0 to 99."""
    pitch_range: int = 50
    """0 to 99."""

    def __post_init__(self) -> None:
        if not self.voice:
            raise SettingError("a voice needs a name, as en-us+f3")
        for name, low, high in (("speed", 80, 450), ("pitch", 0, 99), ("pitch_range", 0, 99)):
            if not low <= getattr(self, name) <= high:
                raise SettingError(f"{name} {getattr(self, name)}: espeak-ng takes {low} to {high}")


@dataclass(frozen=True, eq=False)
class Speech:
    """A sound and the timeline of what is heard in it; pauses are the timeline's gaps."""

    samples: NDArray[np.int16] = field(repr=False)
    """(n,), 16 kHz mono."""
    timeline: Timeline


def speak(texts: Sequence[str], speaker: Speaker, *, data: str | None = None) -> list[Speech]:
    """Say texts, each on its own.

    The same text, speaker and library give the same samples, whatever else is said.

    The library runs in a process of its own (see ``espeak_process``), so calls may run
    side by side in threads. ``data`` is the folder that holds ``espeak-ng-data``; the
    library's own, or ``DATA_VARIABLE``'s, by default.

    Raises ``BackendError`` without the library, ``SettingError`` for a text or voice it
    cannot say.
    """
    for text in texts:
        if not text.strip() or "\0" in text:
            raise SettingError(f"text {text!r}: nothing to say")
    answers = _ask([{"text": text, **asdict(speaker)} for text in texts], data=data)
    return [_read_speech(*answer, text=text) for answer, text in zip(answers, texts, strict=True)]


@cache
def is_available() -> bool:
    """Whether libespeak-ng loads and finds its voices."""
    try:
        return bool(_ask([{}], data=None))
    except BackendError:
        return False


def _ask(requests: list[dict[str, Any]], *, data: str | None) -> list[tuple[dict[str, Any], bytes]]:
    """Requests to a fresh process.

    -I -S: isolated and without site-packages, which it does not need.
    """
    data = data or os.environ.get(DATA_VARIABLE)
    text = json.dumps([{**request, "data": data} for request in requests]).encode()
    command = [sys.executable, "-I", "-S", str(_SCRIPT)]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendError(f"espeak-ng did not answer: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [
            f"exit status {done.returncode}"
        ]
        raise BackendError(f"espeak-ng failed ({said[0]}); reinstall Debian's package espeak-ng")
    return _split_answers(done.stdout)


def _split_answers(stream: bytes) -> list[tuple[dict[str, Any], bytes]]:
    answers = []
    while stream:
        line, _, stream = stream.partition(b"\n")
        header = json.loads(line)
        if "error" in header:
            raise (BackendError if header["missing"] else SettingError)(header["error"])
        answers.append((header, stream[: header["bytes"]]))
        stream = stream[header["bytes"] :]
    return answers


def _read_speech(header: dict[str, Any], pcm: bytes, *, text: str) -> Speech:
    native = np.frombuffer(pcm, dtype="<i2").astype(np.int16)
    timeline = _read_timeline(header["phonemes"], rate=header["rate"], end=native.size)
    if not timeline:
        raise SettingError(f"text {text!r}: espeak-ng says nothing for it")
    voice = voice_from_samples(native, sample_rate=header["rate"])
    # Exact: a Voice holds n / 32768.
    return Speech(np.round(voice.samples * 32768.0).astype(np.int16), timeline)


def _read_timeline(phonemes: list[tuple[str, int]], *, rate: int, end: int) -> Timeline:
    """Each sound lasts until the next event; pauses become gaps. Times in seconds."""
    phonemes = [
        (name, start) for name, start in phonemes if not name.startswith("(")
    ]  # "(en)": language changes
    starts = [start for _, start in phonemes[1:]] + [end]
    sounds = [
        (name, start, stop)
        for (name, start), stop in zip(phonemes, starts, strict=True)
        if stop > start
    ]
    return tuple(
        Phone(name, start / rate, stop / rate) for name, start, stop in sounds if not is_pause(name)
    )
