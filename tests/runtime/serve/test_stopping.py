"""A server that stops: each client is told so in the same words, whatever it does just then."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fixtures.served import Served, take_event

from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.opening import Conversation
from echoexport.runtime.serve.broadcast.viewers import Viewer
from echoexport.runtime.serve.refusals import RefusedError

STOPS = "the server stops"
SILENCE = bytes(960)
Event = threading.Event


@pytest.fixture
def half_closed(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Set once a conversation is closed while its session is not yet; and what lets it go on."""
    closed, go_on = Event(), Event()
    close = Conversation.close

    def wait(talk: Conversation) -> None:
        close(talk)
        closed.set()
        assert go_on.wait(20)

    monkeypatch.setattr(Conversation, "close", wait)
    return closed, go_on


def ask_in_many_ways(served: Served, session: str) -> list[dict[str, Any]]:
    path = f"/v1/sessions/{session}"
    answers = [
        served.request("POST", f"{path}/chunks?rate=16000", content=SILENCE),
        served.request("POST", f"{path}/chunks?end=1"),
        served.request("POST", f"{path}/interrupt"),
        served.request("POST", f"{path}/say", json={"text": "Hello."}),
        served.request("GET", f"{path}/stream.mp4"),
        served.request("POST", "/v1/sessions"),
    ]
    return [answer.json()["error"] for answer in answers]


def test_whoever_speaks_while_it_stops_is_told_that_it_stops(
    served: Served, half_closed: tuple[Event, Event]
) -> None:
    closed, go_on = half_closed
    with served.connect("?video=0") as socket:
        session = take_event(socket, "session.created")["session"]["id"]
        stopping = threading.Thread(target=served.table.stop)
        stopping.start()
        assert closed.wait(20)
        for message in (SILENCE, json.dumps({"type": "input_audio_buffer.commit"})):
            socket.send(message)
        errors = ask_in_many_ways(served, session)
        go_on.set()
        told = [json.loads(message) for message in socket]
        assert told[-1] == {"type": "session.closed", "reason": STOPS}
        assert {one["error"]["message"] for one in told if one["type"] == "error"} <= {STOPS}
        assert (socket.close_code, socket.close_reason) == (1000, STOPS)
        stopping.join()
    assert {(error["status"], error["message"]) for error in errors} == {(503, STOPS)}
    later = ask_in_many_ways(served, session)
    assert {(error["status"], error["message"]) for error in later} == {(503, STOPS)}


def test_a_request_to_a_session_that_ends_is_refused_with_what_ended_it(
    served: Served, half_closed: tuple[Event, Event]
) -> None:
    closed, go_on = half_closed
    session = served.table.open("me", None)
    closing = threading.Thread(target=session.close, args=("enough",))
    closing.start()
    assert closed.wait(20)
    calls: list[Callable[[], Any]] = [
        lambda: session.push(SILENCE, 24_000),
        session.flush,
        session.interrupt,
        lambda: session.say("Hello."),
        session.say_drafts,
    ]
    for call in calls:
        with pytest.raises(RefusedError, match=r"^enough$"):
            call()
    go_on.set()
    closing.join()


def test_a_session_that_cannot_begin_as_the_server_stops_is_told_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object, **__: object) -> None:
        served.table.stop()
        raise BackendError("the bundle is closed")

    monkeypatch.setattr("echoexport.runtime.serve.table.open_live", break_off)
    with pytest.raises(RefusedError, match=STOPS):
        served.table.open("me", None)


def test_last_words_reach_a_viewer_before_the_server_hangs_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Viewer.take

    async def take_slowly(viewer: Viewer) -> Any:
        if viewer.ended is not None:
            await asyncio.sleep(0.5)
        return await take(viewer)

    with served.connect("?video=0") as socket:
        take_event(socket, "session.created")
        monkeypatch.setattr(Viewer, "take", take_slowly)
        stopping = threading.Thread(target=served.server.__exit__)
        stopping.start()
        assert take_event(socket, "session.closed")["reason"] == STOPS
        with pytest.raises(Exception, match=STOPS):
            socket.recv(timeout=20)
        stopping.join()
