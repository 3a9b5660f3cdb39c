"""A crowd against a real server: what it sees, where it is refused, who breaks off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fixtures.live_stage import make_voice
from fixtures.served import OTHER_TOKEN, TOKEN, Served

from echoexport.runtime.errors import CapacityError, InputError, SettingError
from echoexport.runtime.serve.load.crowd import CrowdLog, measure_crowd
from echoexport.runtime.serve.load.stream import LoadTarget

VOICE = (make_voice(1) * 32767).astype("<i2").tobytes()


def send_crowd(
    served: Served, *, streams: int | None, duration: float = 5, **more: Any
) -> CrowdLog:
    target = LoadTarget(served.url, VOICE, **more)
    return measure_crowd(target, streams=streams, duration=duration)


def wait_until_empty(served: Served) -> bool:
    until = time.monotonic() + 5
    while len(served.table) and time.monotonic() < until:
        time.sleep(0.05)
    return not len(served.table)


@contextmanager
def serve_greeting(first: str | bytes) -> Iterator[str]:
    """A server of something else, which says this to whoever comes."""
    sync = pytest.importorskip("websockets.sync.server")
    with sync.serve(lambda socket: socket.send(first), "127.0.0.1", 0) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            serving.join()


def test_each_stream_speaks_and_sees_video(served: Served) -> None:
    log = send_crowd(served, streams=2)
    assert (len(log.streams), log.refused_at, log.reason) == (2, None, "")
    for stream in log.streams:
        assert len(stream.first_frames) >= 1
        assert all(0.05 < first < 5 for first in stream.first_frames)
        assert 15 < (stream.frames - 1) / stream.seconds < 30
        assert all(abs(offset) < 0.1 for _, offset in stream.offsets)
        assert stream.error == ""
    assert wait_until_empty(served)


def test_it_climbs_until_it_is_refused(serve: Callable[..., Served]) -> None:
    log = send_crowd(serve(sessions=2), streams=None, duration=2)
    assert (len(log.streams), log.refused_at) == (2, 3)
    assert "2 sessions are open" in log.reason


def test_more_than_is_let_in_is_told(serve: Callable[..., Served]) -> None:
    log = send_crowd(serve(sessions=1), streams=4, duration=2)
    assert (len(log.streams), log.refused_at) == (1, 2)


def test_tokens_are_taken_in_turns(serve: Callable[..., Served]) -> None:
    served = serve(tokens=(TOKEN, OTHER_TOKEN), sessions_per_token=1)
    log = send_crowd(served, streams=None, duration=1, tokens=(TOKEN, OTHER_TOKEN))
    assert (len(log.streams), log.refused_at) == (2, 3)


def test_a_stranger_and_a_wrong_address_are_told(serve: Callable[..., Served]) -> None:
    served = serve(tokens=(TOKEN,))
    with pytest.raises(InputError, match="a token is needed"):
        send_crowd(served, streams=1)
    with pytest.raises(InputError, match="no such portrait"):
        send_crowd(served, streams=1, tokens=(TOKEN,), portrait="nobody")
    target = LoadTarget("http://127.0.0.1:9", VOICE)
    with pytest.raises(SettingError, match="cannot be reached"):
        measure_crowd(target, streams=1, duration=1)


@pytest.mark.parametrize(
    "first",
    ["hello", b"\xff\x00", "[]", "7", '{"type": "welcome"}', '{"type": "error", "error": "no"}'],
    ids=repr,
)
def test_what_is_no_such_server_is_told_in_one_line(first: str | bytes) -> None:
    with serve_greeting(first) as url, pytest.raises(InputError, match="not echoexport serve"):
        measure_crowd(LoadTarget(url, VOICE), streams=1, duration=1)


def test_the_very_first_may_be_refused(serve: Callable[..., Served]) -> None:
    served = serve(sessions=1)
    with served.connect() as holding:
        holding.recv(timeout=20)
        with pytest.raises(CapacityError, match="1 sessions are open"):
            send_crowd(served, streams=None)


def test_a_server_that_ends_is_told_of_each_stream(served: Served) -> None:
    stopping = threading.Timer(4, served.table.stop)
    stopping.start()
    log = send_crowd(served, streams=1, duration=20)
    stopping.join()
    assert "the server stops" in log.streams[0].error
