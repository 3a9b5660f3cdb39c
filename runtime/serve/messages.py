"""What a client of the WebSocket says, under the names of the OpenAI Realtime events."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from echoexport.runtime.serve.refusals import RefusedError, refuse

RATES = (16_000, 24_000)
"""Of the sound that is pushed, in Hz; the names' home has 24,000 where nothing is said."""

UPDATE = "session.update"
APPEND = "input_audio_buffer.append"
COMMIT = "input_audio_buffer.commit"
INPUT_CLEAR = "input_audio_buffer.clear"
CANCEL = "response.cancel"
OUTPUT_CLEAR = "output_audio_buffer.clear"
ITEM = "conversation.item.create"
RESPONSE = "response.create"
MESSAGES = (UPDATE, APPEND, COMMIT, INPUT_CLEAR, CANCEL, OUTPUT_CLEAR, ITEM, RESPONSE)

ANSWERS = {
    UPDATE: "session.updated",
    COMMIT: "input_audio_buffer.committed",
    INPUT_CLEAR: "input_audio_buffer.cleared",
    CANCEL: "response.cancelled",
    OUTPUT_CLEAR: "output_audio_buffer.cleared",
    ITEM: "conversation.item.added",
}
"""What is said back once it is done; sound that is appended is answered with video, and
``RESPONSE`` with ``response.created`` to all who are connected."""


def read_message(text: str) -> dict[str, Any]:
    """A message as it came.

    Raises:
        RefusedError: it is no JSON object of a type that is known.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise _refuse("a message is one JSON object, or binary PCM") from None
    if not isinstance(message, dict):
        raise _refuse("a message is one JSON object, or binary PCM")
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in MESSAGES:
        shown = kind[:60] if isinstance(kind, str) else type(kind).__name__
        raise _refuse(f"no message type {shown!r}; known: {', '.join(MESSAGES)}")
    return message


def find_sound(message: dict[str, Any]) -> bytes:
    """The PCM of an append.

    Raises:
        RefusedError: it is no base64 of whole 16-bit samples.
    """
    sent = message.get("audio")
    if not isinstance(sent, str):
        raise _refuse("'audio' is base64 of signed 16-bit little-endian PCM of one channel")
    try:
        return check_pcm(base64.b64decode(sent, validate=True))
    except (binascii.Error, ValueError):
        raise _refuse("'audio' is no base64") from None


def check_pcm(pcm: bytes) -> bytes:
    """The same bytes.

    Raises:
        RefusedError: they end within a sample.
    """
    if len(pcm) % 2:
        raise _refuse(f"{len(pcm)} bytes are no whole 16-bit samples")
    return pcm


def read_rate(message: dict[str, Any]) -> int | None:
    """The rate that an update asks for; None where it asks for none.

    Both spellings are read: ``audio.input.format.rate``, and the older
    ``input_audio_format``, which is "pcm16" at 24 kHz.

    Raises:
        RefusedError: a format or rate that is not taken.
    """
    session = _read_object(message, "session")
    if "input_audio_format" in session:
        if session["input_audio_format"] != "pcm16":
            raise _refuse("'input_audio_format' is pcm16: 24 kHz, one channel")
        return 24_000
    part = session
    for name in ("audio", "input", "format"):
        part = _read_object(part, name)
    if part.get("type", "audio/pcm") != "audio/pcm":
        raise _refuse("the format's type is audio/pcm: signed 16-bit little-endian, one channel")
    return check_rate_of_pcm(part["rate"]) if "rate" in part else None


def find_video_wish(message: dict[str, Any]) -> bool | None:
    """Whether an update turns this connection's video on or off; None where it does neither.

    Raises:
        RefusedError: it is neither true nor false.
    """
    wanted = _read_object(message, "session").get("video")
    if wanted is not None and not isinstance(wanted, bool):
        raise _refuse("'video' is true or false")
    return wanted


def find_portrait_name(message: dict[str, Any]) -> str | None:
    """The portrait that an update asks for; None where it asks for none.

    Raises:
        RefusedError: it is no name.
    """
    name = _read_object(message, "session").get("portrait")
    if name is not None and not isinstance(name, str):
        raise _refuse("'portrait' is a name, or the id of an upload")
    return name


def check_rate_of_pcm(rate: object) -> int:
    """A rate that sound may be pushed with.

    Raises:
        RefusedError: it is another.
    """
    if not isinstance(rate, int) or rate not in RATES:
        raise _refuse(f"rate {str(rate)[:20]}: {' or '.join(map(str, RATES))} Hz is taken")
    return rate


def _read_object(message: dict[str, Any], name: str) -> dict[str, Any]:
    found = message.get(name, {})
    if not isinstance(found, dict):
        raise _refuse(f"{name!r} is an object")
    return found


def _refuse(message: str) -> RefusedError:
    return RefusedError(refuse(400, message))
