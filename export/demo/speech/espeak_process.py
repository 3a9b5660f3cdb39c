"""Says texts with libespeak-ng and ends: run as a script, requests on stdin, the sounds on stdout.

espeak-ng keeps state between calls (noise, flutter, where its filters stand) that
nothing resets, and ending and starting it again in one process hangs. So each text is
said by a fork of this process, which has not used the library yet: that makes a sound a
function of its request alone. Standard library only: it starts in about 50 ms.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

LIBRARY = "libespeak-ng.so.1"

# From espeak-ng's speak_lib.h, 1.51 (https://github.com/espeak-ng/espeak-ng).
SYNCHRONOUS = 2  # the sound comes to the callback while espeak_Synth runs
PHONEME_EVENTS = 1
PHONEME_IPA = 2
DONT_EXIT = 0x8000
LAST_EVENT = 0
PHONEME_EVENT = 7
AT_CHARACTER = 1
UTF8_TEXT = 1
RATE, VOLUME, PITCH, PITCH_RANGE, PUNCTUATION, CAPITALS, WORD_GAP = range(1, 8)


class Event(ctypes.Structure):
    """``espeak_EVENT``; its union is read as the eight bytes of a phoneme's name."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_ubyte * 8),
    )


Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


class RequestError(Exception):
    """What was asked for cannot be said; the message goes to the caller."""


class InstallationError(RequestError):
    """The library or its voices are not there."""


class Recorder:
    """Collects what the library hands to its callback.

    16-bit samples, and (name, sample) per phoneme.
    """

    def __init__(self) -> None:
        self.pcm = bytearray()
        self.phonemes: list[tuple[str, int]] = []
        self.callback = Callback(self._receive)  # held here: the library keeps only a pointer to it

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self.pcm += ctypes.string_at(samples, 2 * count)
        index = 0
        while events and events[index].type != LAST_EVENT:
            if events[index].type == PHONEME_EVENT:
                name = bytes(events[index].name).split(b"\0")[0].decode("utf-8", "ignore")
                self.phonemes.append((name, events[index].sample))
            index += 1
        return 0  # carry on


def open_library(
    recorder: Recorder, *, data: str | None
) -> tuple[ctypes.CDLL, int, dict[str, str]]:
    """The library, its sample rate, and what it says of itself.

    ``version`` and ``data``, its folder.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise InstallationError(
            f"{LIBRARY} cannot be loaded; install Debian's package espeak-ng"
        ) from error
    library.espeak_Info.restype = ctypes.c_char_p
    options = PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data.encode() if data else None, options)
    if rate <= 0:
        raise InstallationError(
            f"{LIBRARY} finds no voices in {data or 'its folder'}; give espeak-ng-data's parent"
        )
    library.espeak_SetSynthCallback(recorder.callback)
    folder = ctypes.c_char_p()
    version = library.espeak_Info(ctypes.byref(folder))
    return library, rate, {"version": version.decode(), "data": os.fsdecode(folder.value or b"")}


def choose_voice(library: ctypes.CDLL, voice: str, *, data: str) -> None:
    """Set the voice; espeak-ng itself passes over a variant that it does not know."""
    _, _, variant = voice.partition("+")
    # Not by pathlib, which takes 10 ms to import.
    if variant and not os.path.isfile(f"{data}/voices/!v/{variant}"):  # noqa: PTH113
        raise RequestError(
            f"voice {voice}: no variant {variant!r} in {data}; see espeak-ng --voices=variant"
        )
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RequestError(
            f"voice {voice}: espeak-ng has none of this name; see espeak-ng --voices"
        )


def say_request(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer's header and its 16-bit samples.

    A request without a text only asks for the version.
    """
    recorder = Recorder()
    library, rate, about = open_library(recorder, data=request.get("data"))
    if "text" not in request:
        return {**about, "rate": rate, "phonemes": []}, b""
    choose_voice(library, request["voice"], data=about["data"])
    settings = {
        RATE: request["speed"],
        VOLUME: 100,
        PITCH: request["pitch"],
        PITCH_RANGE: request["pitch_range"],
    }
    for name, value in {**settings, PUNCTUATION: 0, CAPITALS: 0, WORD_GAP: 0}.items():
        library.espeak_SetParameter(name, value, 0)
    ctypes.CDLL(None).srand(1)  # its hiss is the C library's rand()
    text = request["text"].encode()
    status = library.espeak_Synth(
        text,
        ctypes.c_size_t(len(text) + 1),
        ctypes.c_uint(0),
        AT_CHARACTER,
        ctypes.c_uint(0),
        UTF8_TEXT,
        None,
        None,
    )
    library.espeak_Synchronize()
    if status != 0:
        raise RequestError(f"espeak-ng could not say {request['text']!r} (status {status})")
    return {**about, "rate": rate, "phonemes": recorder.phonemes}, bytes(recorder.pcm)


def answer_request(request: dict[str, Any]) -> None:
    """Write one answer: a line of JSON with the count of bytes that follow, then the samples."""
    try:
        header, pcm = say_request(request)
    except RequestError as error:
        header = {"error": str(error), "missing": isinstance(error, InstallationError)}
        pcm = b""
    sys.stdout.buffer.write(json.dumps({**header, "bytes": len(pcm)}).encode() + b"\n" + pcm)
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer a list of requests in order, each in a fork."""
    for request in json.load(sys.stdin.buffer):
        child = os.fork()
        if child == 0:
            try:
                answer_request(request)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
                os._exit(1)
            os._exit(0)  # at once: the library's idle thread would never end
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)


if __name__ == "__main__":
    main()
