"""Messages are read whole or refused with one line."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from echoexport.runtime.serve import messages
from echoexport.runtime.serve.refusals import RefusedError


def test_sound_is_read_from_base64() -> None:
    pcm = np.arange(-5, 5, dtype="<i2").tobytes()
    told = json.dumps({"type": messages.APPEND, "audio": base64.b64encode(pcm).decode()})
    assert messages.find_sound(messages.read_message(told)) == pcm


@pytest.mark.parametrize("text", ["", "nothing", "3", "[1]", "null", '"a"', "{", "[" * 100_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="one JSON object"):
        messages.read_message(text)


def test_a_type_that_nobody_knows_is_told_with_those_there_are() -> None:
    with pytest.raises(RefusedError, match=r"no message type 'talk'; known: session\.update"):
        messages.read_message('{"type": "talk"}')


@pytest.mark.parametrize("audio", [None, 3, "?", "AAA", "AAAA", "ä"])
def test_sound_that_is_none_is_refused(audio: object) -> None:
    with pytest.raises(RefusedError):
        messages.find_sound({"audio": audio})


@pytest.mark.parametrize(
    ("session", "rate"),
    [
        ({}, None),
        ({"audio": {"input": {"format": {"rate": 16000}}}}, 16_000),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}}, 24_000),
        ({"audio": {"output": {}}}, None),
        ({"input_audio_format": "pcm16"}, 24_000),
    ],
)
def test_both_spellings_of_a_rate_are_read(session: object, rate: int | None) -> None:
    assert messages.read_rate({"session": session}) == rate


@pytest.mark.parametrize(
    "session",
    [
        3,
        {"audio": []},
        {"audio": {"input": {"format": {"rate": 44100}}}},
        {"audio": {"input": {"format": {"rate": True}}}},
        {"audio": {"input": {"format": {"rate": "16000"}}}},
        {"audio": {"input": {"format": {"type": "audio/pcmu", "rate": 16000}}}},
        {"input_audio_format": "g711_ulaw"},
        {"portrait": 3},
        {"video": "yes"},
    ],
)
def test_a_session_that_cannot_be_is_refused(session: object) -> None:
    with pytest.raises(RefusedError):
        messages.read_rate({"session": session})
        messages.find_portrait_name({"session": session})
        messages.find_video_wish({"session": session})


@pytest.mark.parametrize("wish", [True, False, None])
def test_the_video_of_a_connection_is_turned_on_and_off(wish: bool | None) -> None:
    session = {} if wish is None else {"video": wish}
    assert messages.find_video_wish({"session": session}) is wish
