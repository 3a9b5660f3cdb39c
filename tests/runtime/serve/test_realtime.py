"""The WebSocket: Realtime's names in, fragments and events out."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fixtures.live_stage import make_voice
from fixtures.served import Served, take_event, take_video


def pcm(seconds: float, rate: int = 24_000) -> bytes:
    voice = make_voice(seconds * rate / 16_000)
    return (voice * 32767).astype("<i2").tobytes()


def say(socket: Any, seconds: float = 0.6) -> None:
    told = base64.b64encode(pcm(seconds)).decode()
    socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": told}))
    socket.send(json.dumps({"type": "input_audio_buffer.commit"}))


def test_a_session_is_created_with_what_a_player_must_know(served: Served) -> None:
    with served.connect() as socket:
        session = take_event(socket, "session.created")["session"]
    assert session["video"]["mime"].startswith('video/mp4; codecs="avc1.42')
    assert (session["video"]["width"], session["video"]["height"]) == (32, 32)
    assert session["audio"]["input"]["format"]["rate"] == 24_000


def test_what_comes_is_a_video_with_its_sound(served: Served) -> None:
    with served.connect() as socket:
        video = take_video(socket, 60)
    with av.open(io.BytesIO(video)) as opened:
        assert len(opened.streams.audio) == 1
        assert sum(1 for _ in opened.decode(video=0)) >= 20


def test_sound_is_spoken_and_the_first_frame_is_told(served: Served) -> None:
    with served.connect() as socket:
        take_event(socket, "session.created")
        say(socket)
        first = take_event(socket, "output_video.first_frame")
        take_event(socket, "output_video.speaking")
        take_event(socket, "output_video.idle")
    assert 0 < first["after_ms"] < 5000


def test_binary_messages_are_sound_too(served: Served) -> None:
    with served.connect() as socket:
        take_event(socket, "session.created")
        socket.send(pcm(0.5))
        socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
        take_event(socket, "input_audio_buffer.committed")
        assert take_event(socket, "output_video.speaking")["time"] > 0


def test_an_interrupt_at_rest_is_told_with_the_rest_that_follows_at_once(served: Served) -> None:
    with served.connect() as socket:
        take_event(socket, "session.created")
        socket.send(json.dumps({"type": "response.cancel"}))
        interrupted = take_event(socket, "output_video.interrupted")
        assert take_event(socket, "output_video.idle")["time"] == interrupted["time"]


def test_what_is_said_right_after_an_interrupt_is_told_as_a_turn_of_its_own(
    served: Served,
) -> None:
    with served.connect() as socket:
        take_event(socket, "session.created")
        say(socket)
        take_event(socket, "output_video.speaking")
        socket.send(json.dumps({"type": "response.cancel"}))
        interrupted = take_event(socket, "output_video.interrupted")
        say(socket)
        first = take_event(socket, "output_video.first_frame")
        speaking = take_event(socket, "output_video.speaking")
        assert speaking["time"] == first["time"] > interrupted["time"]


def test_another_face_is_told_to_everybody_who_watches(served: Served, portrait_file: Path) -> None:
    uploaded = served.request("POST", "/v1/portraits", content=portrait_file.read_bytes())
    portrait = uploaded.json()["portrait"]
    with served.connect() as page:
        name = take_event(page, "session.created")["session"]["id"]
        with served.connect(f"?session={name}") as program:
            update = {"type": "session.update", "session": {"portrait": portrait}}
            program.send(json.dumps(update))
            assert take_event(page, "session.updated")["session"]["portrait"] == portrait


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("response.cancel", "response.cancelled"),
        ("output_audio_buffer.clear", "output_audio_buffer.cleared"),
        ("input_audio_buffer.clear", "input_audio_buffer.cleared"),
    ],
)
def test_barge_in_stops_what_is_said(served: Served, kind: str, answer: str) -> None:
    with served.connect() as socket:
        take_event(socket, "session.created")
        say(socket, 12)
        take_event(socket, "output_video.speaking")
        begun = time.monotonic()
        socket.send(json.dumps({"type": kind}))
        take_event(socket, answer)
        take_event(socket, "output_video.idle")
        assert time.monotonic() - begun < 3


def test_the_rate_is_updated_in_both_spellings(served: Served) -> None:
    new = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}
    with served.connect() as socket:
        for session, rate in ((new, 16_000), ({"input_audio_format": "pcm16"}, 24_000)):
            socket.send(json.dumps({"type": "session.update", "session": session}))
            told = take_event(socket, "session.updated")["session"]
            assert told["audio"]["input"]["format"]["rate"] == rate


def test_another_portrait_is_shown_in_the_same_session(served: Served, portrait_file: Any) -> None:
    sent = served.request("POST", "/v1/portraits", content=portrait_file.read_bytes())
    name = sent.json()["portrait"]
    with served.connect() as socket:
        take_event(socket, "session.created")
        socket.send(json.dumps({"type": "session.update", "session": {"portrait": name}}))
        assert take_event(socket, "session.updated")["session"]["portrait"] == name
        take_video(socket, 10)


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        "[]",
        "{}",
        '{"type": 7}',
        '{"type": "response.fly"}',
        '{"type": "input_audio_buffer.append"}',
        '{"type": "input_audio_buffer.append", "audio": "?"}',
        '{"type": "input_audio_buffer.append", "audio": "AAAA"}',
        '{"type": "session.update", "session": 3}',
        '{"type": "session.update", "session": {"portrait": "nobody"}}',
        '{"type": "session.update", "session": {"audio": {"input": {"format": {"rate": 8000}}}}}',
        b"odd",
    ],
)
def test_a_message_that_is_none_is_told_and_the_session_goes_on(
    served: Served, message: str | bytes
) -> None:
    with served.connect() as socket:
        take_event(socket, "session.created")
        socket.send(message)
        error = take_event(socket, "error")["error"]
        assert error["status"] in (400, 404)
        assert "Traceback" not in error["message"]
        take_video(socket, 4)


def test_sound_without_end_is_refused_by_its_seconds(serve: Callable[..., Served]) -> None:
    served = serve(most_sound=2.0)
    with served.connect() as socket:
        take_event(socket, "session.created")
        for _ in range(3):
            socket.send(pcm(2.0))
        assert "wait to be spoken" in take_event(socket, "error")["error"]["message"]


def test_several_watch_one_session_and_each_begins_with_a_whole_video(served: Served) -> None:
    with served.connect() as first:
        identity = take_event(first, "session.created")["session"]["id"]
        with served.connect(f"?session={identity}") as second:
            assert take_event(second, "session.created")["session"]["id"] == identity
            video = take_video(second, 30)
    with av.open(io.BytesIO(video)) as opened:
        frames = list(opened.decode(video=0))
    assert frames[0].key_frame
    assert len(served.table) == 0 or wait_until(lambda: len(served.table) == 0)


def test_one_without_video_gets_events_alone(served: Served) -> None:
    with served.connect("?video=0") as socket:
        say(socket)
        got = [socket.recv(timeout=20) for _ in range(4)]
    assert all(isinstance(one, str) for one in got)


def test_who_says_nothing_is_not_shown_what_another_says(served: Served) -> None:
    with served.connect() as one, served.connect("?video=0") as other:
        take_event(one, "session.created")
        take_event(other, "session.created")
        say(one)
        take_event(one, "output_video.speaking")
        take_event(one, "output_video.idle")
        other.send(json.dumps({"type": "input_audio_buffer.commit"}))
        assert json.loads(other.recv(timeout=20))["type"] == "input_audio_buffer.committed"


def test_a_client_that_vanishes_frees_its_place(serve: Callable[..., Served]) -> None:
    served = serve(sessions=1)
    socket = served.connect().__enter__()
    take_event(socket, "session.created")
    with served.connect() as late:
        error = take_event(late, "error")["error"]
    assert error["status"] == 429
    assert error["retry_after"] > 0
    assert "--sessions" in error["message"]
    socket.socket.close()  # without a word
    assert wait_until(lambda: len(served.table) == 0, seconds=5)
    with served.connect() as again:
        take_event(again, "session.created")


def test_a_reader_who_reads_nothing_is_cut_and_the_others_see_on(
    serve: Callable[..., Served],
) -> None:
    served = serve(queue=0.5)
    with served.connect() as first:
        identity = take_event(first, "session.created")["session"]["id"]
        audience = served.table.find(identity, "local").audience
        slow = served.connect(f"?session={identity}", max_queue=1).__enter__()
        flood = "a" * 200_000
        for _ in range(60):
            audience.tell({"type": "padding", "text": flood})
            first.recv(timeout=20)
            time.sleep(0.01)
        assert wait_until(lambda: len(audience) <= 1, seconds=8)
        slow.socket.close()


def test_a_server_that_stops_tells_its_sessions(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.connect() as socket:
        take_event(socket, "session.created")
        served.table.stop()
        assert "stops" in take_event(socket, "session.closed")["reason"]
    assert served.request("POST", "/v1/sessions").status_code == 503


def wait_until(condition: Callable[[], bool], *, seconds: float = 5) -> bool:
    """Whether it comes true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_the_voices_of_this_test_are_loud() -> None:
    assert np.abs(np.frombuffer(pcm(0.1), "<i2")).mean() > 1000


def test_video_is_turned_on_and_off_in_one_connection(served: Served) -> None:
    with served.connect("?video=0") as socket:
        take_event(socket, "session.created")
        socket.send(json.dumps({"type": "session.update", "session": {"video": True}}))
        with av.open(io.BytesIO(take_video(socket, 12))) as video:
            assert len(list(video.decode(video=0))) > 3
        socket.send(json.dumps({"type": "session.update", "session": {"video": False}}))
        while not isinstance(socket.recv(timeout=20), str):
            pass
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.5)
