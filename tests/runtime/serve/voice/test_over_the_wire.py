"""Texts through a real server: by REST and under Realtime's names, seen by all who watch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from fixtures.served import OTHER_TOKEN, TOKEN, Served, take_event

DELTA = "response.output_audio_transcript.delta"
LONG = "head()\nnoise(30)"


def create_item(socket: Any, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    socket.send(json.dumps({"type": "conversation.item.create", "item": item}))


@pytest.fixture
def talking(serve: Callable[..., Served], make_program: Callable[..., Any]) -> Served:
    """A server whose voice says 40 ms for each letter."""
    return serve(voice=make_program())


def test_a_session_says_whether_it_has_a_voice(served: Served, talking: Served) -> None:
    for server, name in ((served, None), (talking, "program")):
        with server.connect("?video=0") as socket:
            session = take_event(socket, "session.created")["session"]
            assert session["audio"]["output"] == {"voice": name}


def test_an_item_and_a_response_are_spoken_with_captions(talking: Served) -> None:
    with talking.connect("?video=0") as socket:
        take_event(socket, "session.created")
        create_item(socket, "Good morning, all. How are you today?")
        assert take_event(socket, "conversation.item.added")["item"]["role"] == "user"
        socket.send(json.dumps({"type": "response.create"}))
        name = take_event(socket, "response.created")["response"]["id"]
        first = take_event(socket, DELTA)
        second = take_event(socket, DELTA)
        done = take_event(socket, "response.done")["response"]
    assert (first["delta"], second["delta"]) == ("Good morning, all.", " How are you today?")
    assert second["time"] - first["time"] == pytest.approx(0.72, abs=0.13)
    assert done == {"id": name, "object": "realtime.response", "status": "completed"}


def test_a_caption_is_at_the_place_where_the_face_speaks(talking: Served) -> None:
    with talking.connect("?video=0") as socket:
        take_event(socket, "session.created")
        create_item(socket, "Good morning, all.")
        socket.send(json.dumps({"type": "response.create"}))
        speaking = take_event(socket, "output_video.speaking")["time"]
        assert take_event(socket, DELTA)["time"] == pytest.approx(speaking, abs=0.2)
        take_event(socket, "output_video.idle")


def test_a_text_by_rest_is_seen_by_who_watches(talking: Served) -> None:
    session = talking.request("POST", "/v1/sessions").json()
    with talking.connect(f"?video=0&session={session['id']}") as socket:
        path = f"/v1/sessions/{session['id']}/say"
        answer = talking.request("POST", path, json={"text": "Good morning, all."})
        assert answer.status_code == 202
        assert take_event(socket, DELTA)["response_id"] == answer.json()["response"]


def test_barge_in_ends_the_text_and_its_captions(
    serve: Callable[..., Served], make_program: Callable[..., Any]
) -> None:
    with serve(voice=make_program(LONG)).connect("?video=0") as socket:
        take_event(socket, "session.created")
        create_item(socket, "Good morning, all. This is never said.")
        socket.send(json.dumps({"type": "response.create"}))
        take_event(socket, DELTA)
        begun = time.monotonic()
        socket.send(json.dumps({"type": "response.cancel"}))
        done = take_event(socket, "response.done")
        assert time.monotonic() - begun < 1
        assert done["response"]["status"] == "cancelled"
        take_event(socket, "output_video.interrupted")
        take_event(socket, "output_video.idle")
        assert time.monotonic() - begun < 3


def test_a_voice_that_fails_is_told_and_the_session_goes_on(
    serve: Callable[..., Served], make_program: Callable[..., Any]
) -> None:
    with serve(voice=make_program("sys.exit('broken')")).connect("?video=0") as socket:
        take_event(socket, "session.created")
        create_item(socket, "Good morning, all.")
        socket.send(json.dumps({"type": "response.create"}))
        assert take_event(socket, "error")["error"]["type"] == "voice_failed"
        assert take_event(socket, "response.done")["response"]["status"] == "failed"
        socket.send(json.dumps({"type": "response.cancel"}))
        take_event(socket, "response.cancelled")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"no JSON", 400, "text"),
        (b'{"text": 7}', 400, "text"),
        (b'{"text": "?!"}', 400, "nothing to say"),
        (b'{"text": "' + b"a" * 5000 + b'"}', 413, "at most 4096"),
    ],
)
def test_what_cannot_be_said_is_one_line(
    talking: Served, body: bytes, status: int, words: str
) -> None:
    path = "/v1/sessions/" + talking.request("POST", "/v1/sessions").json()["id"] + "/say"
    answer = talking.request("POST", path, content=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_without_a_voice_it_is_told_how_to_get_one(served: Served) -> None:
    path = "/v1/sessions/" + served.request("POST", "/v1/sessions").json()["id"] + "/say"
    answer = served.request("POST", path, json={"text": "Good morning."})
    assert answer.status_code == 501
    assert answer.json()["error"]["type"] == "no_voice"
    assert "--tts" in answer.json()["error"]["message"]


def test_nobody_speaks_through_anothers_session(
    serve: Callable[..., Served], make_program: Callable[..., Any]
) -> None:
    served = serve(voice=make_program(), tokens=(TOKEN, OTHER_TOKEN))
    session = served.request("POST", "/v1/sessions", token=TOKEN).json()["id"]
    path = f"/v1/sessions/{session}/say"
    for token, status in ((None, 401), (OTHER_TOKEN, 404), (TOKEN, 202)):
        answer = served.request("POST", path, token=token, json={"text": "Good morning."})
        assert answer.status_code == status


def test_what_is_said_is_not_written_down(talking: Served) -> None:
    with talking.connect("?video=0") as socket:
        take_event(socket, "session.created")
        create_item(socket, "Xylophone secrets.")
        socket.send(json.dumps({"type": "response.create"}))
        take_event(socket, "response.done")
    assert "Xylophone" not in talking.written.getvalue()


def test_the_ladder_is_told_with_the_session(served: Served) -> None:
    with served.connect("?video=0") as socket:
        ladder = take_event(socket, "session.created")["session"]["video"]["ladder"]
    assert ladder["below_best"] == 0
    assert ladder["steps"] >= 1
    assert ladder["every"] == 1
