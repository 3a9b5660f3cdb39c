"""The REST twin: sessions, sound, video and portraits of a token, and nobody else's."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from fixtures.live_stage import make_voice
from fixtures.served import OTHER_TOKEN, TOKEN, Served, take_event


@pytest.fixture
def guarded(serve: Callable[..., Served]) -> Served:
    """A server with two users."""
    return serve(tokens=(TOKEN, OTHER_TOKEN), sessions_per_token=1, most_body=200_000)


def make_pcm(seconds: float) -> bytes:
    return (make_voice(seconds) * 32767).astype("<i2").tobytes()


def read_stream(served: Served, path: str, *, most: int, token: str | None = None) -> bytes:
    """So many bytes of a video, or less where it ends."""
    import httpx

    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    found = b""
    with httpx.stream("GET", served.url + path, headers=headers, timeout=20) as answer:
        assert answer.headers["content-type"] == "video/mp4"
        for part in answer.iter_bytes():
            found += part
            if len(found) >= most:
                break
    return found


def test_a_session_is_opened_spoken_to_watched_and_ended(served: Served) -> None:
    session = served.request("POST", "/v1/sessions")
    assert session.status_code == 201
    path = f"/v1/sessions/{session.json()['id']}"
    pcm = make_pcm(3)
    pushed = served.request("POST", path + "/chunks?rate=16000&end=1", content=pcm)
    assert pushed.status_code == 202
    assert pushed.json()["pending_seconds"] > 0
    video = read_stream(served, path + "/stream.mp4", most=20_000)
    with av.open(io.BytesIO(video)) as opened:
        assert next(opened.decode(video=0)).key_frame
    assert served.request("POST", path + "/interrupt").status_code == 204
    assert served.request("DELETE", path).status_code == 204
    assert served.request("POST", path + "/chunks", content=pcm).status_code == 404


def test_a_video_ends_with_its_session(served: Served) -> None:
    path = "/v1/sessions/" + served.request("POST", "/v1/sessions").json()["id"]
    videos: list[bytes] = []
    reading = threading.Thread(
        target=lambda: videos.append(read_stream(served, path + "/stream.mp4", most=10**9))
    )
    reading.start()
    time.sleep(1)
    served.request("DELETE", path)
    reading.join(timeout=20)
    assert len(videos) == 1
    assert videos[0][4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("query", "content", "words"),
    [
        ("?rate=44100", b"\0\0", "rate 44100"),
        ("?rate=fast", b"\0\0", "rate fast"),
        ("", b"\0", "no whole 16-bit samples"),
    ],
)
def test_sound_that_is_none_is_refused(
    served: Served, query: str, content: bytes, words: str
) -> None:
    path = "/v1/sessions/" + served.request("POST", "/v1/sessions").json()["id"]
    answer = served.request("POST", f"{path}/chunks{query}", content=content)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"[", b"3", b'{"portrait": 3}', b"[" * 50_000, b"\xff"])
def test_a_body_that_is_none_is_refused(served: Served, content: bytes) -> None:
    answer = served.request("POST", "/v1/sessions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request"


def test_nobody_sees_or_hears_anothers_session(guarded: Served, portrait_file: Path) -> None:
    mine = guarded.request("POST", "/v1/sessions", token=TOKEN).json()["id"]
    path = f"/v1/sessions/{mine}"
    for verb, end in (
        ("DELETE", ""),
        ("GET", "/stream.mp4"),
        ("POST", "/chunks"),
        ("POST", "/interrupt"),
    ):
        assert guarded.request(verb, path + end, token=OTHER_TOKEN).status_code == 404
        assert guarded.request(verb, path + end).status_code == 401
    with guarded.connect(f"?session={mine}", token=OTHER_TOKEN) as socket:
        assert take_event(socket, "error")["error"]["status"] == 404
    assert guarded.request("GET", "/v1/sessions", token=OTHER_TOKEN).json() == {"data": []}
    face = portrait_file.read_bytes()
    upload = guarded.request("POST", "/v1/portraits", token=TOKEN, content=face).json()
    stolen = guarded.request("POST", "/v1/sessions", token=OTHER_TOKEN, json=upload)
    assert stolen.status_code == 404
    own = guarded.request("GET", "/v1/sessions", token=TOKEN).json()["data"]
    assert [session["id"] for session in own] == [mine]


def test_one_more_than_a_token_may_have_is_told_when_to_come_again(guarded: Served) -> None:
    assert guarded.request("POST", "/v1/sessions", token=TOKEN).status_code == 201
    refused = guarded.request("POST", "/v1/sessions", token=TOKEN)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert "of this token" in refused.json()["error"]["message"]
    assert guarded.request("POST", "/v1/sessions", token=OTHER_TOKEN).status_code == 201


def test_a_body_beyond_its_bound_is_refused_with_and_without_a_length(guarded: Served) -> None:
    def drip() -> Any:
        for _ in range(300):
            yield b"\0" * 1000

    for content in (b"\0" * 300_000, drip()):
        answer = guarded.request("POST", "/v1/portraits", token=TOKEN, content=content)
        assert answer.status_code == 413


def test_a_session_that_nobody_needs_ends_by_itself(serve: Callable[..., Served]) -> None:
    served = serve(idle=0.5)
    served.request("POST", "/v1/sessions")
    until = time.monotonic() + 15
    while len(served.table) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(served.table) == 0


def test_portraits_are_listed_by_name(served: Served, portrait_file: Path) -> None:
    assert served.request("GET", "/v1/portraits").json() == {"data": [portrait_file.stem]}
    refused = served.request("POST", "/v1/portraits", content=b"no picture")
    assert refused.status_code == 400
