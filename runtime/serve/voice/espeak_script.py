"""Says what stands on stdin with libespeak-ng, as WAV on stdout: run as a script, in a process.

``python espeak_script.py LIBRARY DATA VOICE SPEED``. A process of its own, as the library is
under the GPL, keeps state between calls, and may end whoever has loaded it. Standard library
only, so that it starts in about 50 ms; the sound is written as it is made.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import Any

# From espeak-ng's speak_lib.h, 1.52 (https://github.com/espeak-ng/espeak-ng).
_SYNCHRONOUS = 2  # the sound comes to the callback while espeak_Synth runs
_DONT_EXIT = 0x8000
_AT_CHARACTER = 1
_UTF8_TEXT = 1
_SPEED = 1
_BUFFER = 100  # milliseconds of sound that come at once

_UNKNOWN = 0x7FFFF000  # of a length that nobody knows yet, as espeak-ng itself writes it

_Receiver = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def describe_wave(rate: int) -> bytes:
    """The head of a WAV of signed 16-bit samples of one channel, of unknown length."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    whole = 4 + len(form) + 8 + _UNKNOWN
    return (
        struct.pack("<4sI4s", b"RIFF", whole, b"WAVE")
        + form
        + struct.pack("<4sI", b"data", _UNKNOWN)
    )


def say_text(text: bytes, words: list[str]) -> str | None:
    """Write the sound; what went wrong, where something did.

    ``words``: the library's file, the folder of its data, a voice, words a minute.
    """
    file, data, voice, speed = words
    try:
        library = ctypes.CDLL(file)
    except OSError as error:
        return f"{file}: {error}"
    # Its buffer for a path is short, and what is longer is cut; so it is told of the folder
    # that this process stands in.
    os.chdir(os.path.dirname(data))  # noqa: PTH120  # pathlib takes 10 ms to import
    rate = library.espeak_Initialize(_SYNCHRONOUS, _BUFFER, b".", _DONT_EXIT)
    if rate <= 0:
        return f"{data}: libespeak-ng finds no voices in it"
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return f"voice {voice}: libespeak-ng has none of this name"
    library.espeak_SetParameter(_SPEED, int(speed), 0)
    os.write(1, describe_wave(rate))
    receiver = _Receiver(_write)
    library.espeak_SetSynthCallback(receiver)
    size = ctypes.c_size_t(len(text) + 1)
    start = ctypes.c_uint(0)
    status = library.espeak_Synth(text, size, start, _AT_CHARACTER, start, _UTF8_TEXT, None, None)
    library.espeak_Synchronize()
    return f"libespeak-ng gave up with status {status}" if status != 0 else None


def _write(samples: Any, count: int, events: Any) -> int:
    """Hand on what was made; 1 ends it, where nobody reads any more."""
    left = ctypes.string_at(samples, 2 * count) if samples and count > 0 else b""
    try:
        while left:
            left = left[os.write(1, left) :]
    except OSError:
        return 1
    return 0


def say_stdin() -> None:
    """Say it, and leave at once: the library's idle thread would never end."""
    told = say_text(sys.stdin.buffer.read(), sys.argv[1:])
    if told is not None:
        os.write(2, f"{told}\n".encode())
    os._exit(0 if told is None else 1)


if __name__ == "__main__":
    say_stdin()
