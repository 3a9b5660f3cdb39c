"""WHEP with a real peer: pictures that move, sound, and places that are bounded and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from fixtures.served import OTHER_TOKEN, TOKEN, Served

pytest.importorskip("aiortc")

SDP = {"content-type": "application/sdp"}


class Watcher:
    """A peer of aiortc that receives a session."""

    def __init__(self, served: Served, session: str, token: str | None = None) -> None:
        from aiortc import RTCConfiguration, RTCPeerConnection

        self.served = served
        self.path = f"/v1/sessions/{session}/whep"
        self.token = token
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.tracks: dict[str, Any] = {}
        self.connection.on("track", lambda track: self.tracks.update({track.kind: track}))

    async def offer(self) -> str:
        for kind in ("video", "audio"):
            self.connection.addTransceiver(kind, direction="recvonly")
        await self.connection.setLocalDescription(await self.connection.createOffer())
        sdp: str = self.connection.localDescription.sdp
        return sdp

    async def join(self) -> Any:
        """The server's answer, taken where it is one."""
        from aiortc import RTCSessionDescription

        offer = await self.offer()
        answer = await asyncio.to_thread(
            self.served.request, "POST", self.path, content=offer, headers=SDP, token=self.token
        )
        if answer.status_code == 201:
            description = RTCSessionDescription(sdp=answer.text, type="answer")
            await self.connection.setRemoteDescription(description)
        return answer

    async def receive(self, kind: str, count: int) -> list[Any]:
        return [await asyncio.wait_for(self.tracks[kind].recv(), timeout=20) for _ in range(count)]


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), timeout=90))  # type: ignore[arg-type]


def open_session(served: Served, token: str | None = None) -> str:
    session: str = served.request("POST", "/v1/sessions", token=token).json()["id"]
    return session


def wait_for_viewers(served: Served, session: str, count: int, *, most: float = 20) -> float:
    """Seconds until the session has so many."""
    begun = time.monotonic()
    while len(served.table.find(session, "local").audience) != count:
        assert time.monotonic() - begun < most
        time.sleep(0.05)
    return time.monotonic() - begun


def test_a_peer_gets_pictures_and_sound_on_one_clock(served: Served) -> None:
    session = open_session(served)

    async def scene() -> None:
        watcher = Watcher(served, session)
        answer = await watcher.join()
        assert answer.status_code == 201
        assert answer.headers["content-type"] == "application/sdp"
        assert answer.headers["location"].startswith(f"/v1/sessions/{session}/whep/")
        pictures = await watcher.receive("video", 20)
        assert {(frame.width, frame.height) for frame in pictures} == {(32, 32)}
        steps = np.diff([frame.pts for frame in pictures])
        assert set(steps) == {90_000 // 25}  # each picture, at its own time
        sound = await watcher.receive("audio", 20)
        assert {frame.sample_rate for frame in sound} == {48_000}
        await watcher.connection.close()

    play(scene)


def test_what_is_sent_is_compressed_once_for_all_who_watch(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiortc.codecs.h264 import H264Encoder
    from aiortc.codecs.opus import OpusEncoder

    for encoder in (H264Encoder, OpusEncoder):
        monkeypatch.setattr(encoder, "encode", lambda *_: pytest.fail("it was encoded again"))
    session = open_session(served)

    async def scene() -> None:
        both = [Watcher(served, session), Watcher(served, session)]
        for watcher in both:
            assert (await watcher.join()).status_code == 201
        for watcher in both:
            assert len(await watcher.receive("video", 5)) == 5
            assert len(await watcher.receive("audio", 5)) == 5
        for watcher in both:
            await watcher.connection.close()

    play(scene)


def test_who_leaves_gives_his_place_back(served: Served) -> None:
    session = open_session(served)

    async def scene() -> None:
        watcher = Watcher(served, session)
        location = (await watcher.join()).headers["location"]
        await watcher.receive("video", 1)
        assert len(served.table.find(session, "local").audience) == 1
        assert served.request("PATCH", location).status_code == 405
        assert served.request("PATCH", location).headers["allow"] == "DELETE"
        done = await asyncio.to_thread(served.request, "DELETE", location)
        assert done.status_code == 204
        wait_for_viewers(served, session, 0)
        assert served.request("DELETE", location).status_code == 404
        await watcher.connection.close()

    play(scene)


def test_a_peer_that_closes_or_vanishes_is_cut(served: Served) -> None:
    session = open_session(served)

    async def scene() -> None:
        closing, vanishing = Watcher(served, session), Watcher(served, session)
        for watcher in (closing, vanishing):
            await watcher.join()
            await watcher.receive("video", 1)
        await closing.connection.close()
        assert await asyncio.to_thread(wait_for_viewers, served, session, 1, most=10) < 10
        for transport in {sender.transport for sender in vanishing.connection.getReceivers()}:
            for one in transport.transport._connection._protocols:  # as pulling the plug would
                one.transport.abort()
        assert await asyncio.to_thread(wait_for_viewers, served, session, 0, most=15) < 15
        await vanishing.connection.close()

    play(scene)


def test_a_peer_that_never_comes_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoexport.runtime.serve.webrtc.peer._OPENING", 2.0)
    session = open_session(served)

    async def scene() -> None:
        watcher = Watcher(served, session)
        offer = await watcher.offer()
        answer = await asyncio.to_thread(
            served.request, "POST", watcher.path, content=offer, headers=SDP
        )
        assert answer.status_code == 201
        assert len(served.table.find(session, "local").audience) == 1
        await asyncio.to_thread(wait_for_viewers, served, session, 0)
        await watcher.connection.close()

    play(scene)


def test_peers_end_with_their_session(served: Served) -> None:
    from aiortc.mediastreams import MediaStreamError

    session = open_session(served)

    async def scene() -> None:
        watcher = Watcher(served, session)
        await watcher.join()
        await watcher.receive("video", 1)
        served.request("DELETE", f"/v1/sessions/{session}")
        with pytest.raises((MediaStreamError, asyncio.TimeoutError)):
            await watcher.receive("video", 500)
        await watcher.connection.close()

    play(scene)
    assert not any("failed" in line["event"] for line in served.log)


def test_viewers_beyond_the_bound_are_429(serve: Callable[..., Served]) -> None:
    served = serve(viewers=1)
    session = open_session(served)

    async def scene() -> None:
        first, second = Watcher(served, session), Watcher(served, session)
        assert (await first.join()).status_code == 201
        refused = await second.join()
        assert refused.status_code == 429
        assert "1 watch this session" in refused.json()["error"]["message"]
        for watcher in (first, second):
            await watcher.connection.close()

    play(scene)


def test_another_users_session_is_not_there(serve: Callable[..., Served]) -> None:
    served = serve(tokens=(TOKEN, OTHER_TOKEN))
    session = open_session(served, TOKEN)

    async def scene() -> None:
        for token, status in ((OTHER_TOKEN, 404), (None, 401)):
            watcher = Watcher(served, session, token)
            assert (await watcher.join()).status_code == status
            await watcher.connection.close()

    play(scene)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"no offer", "application/sdp", 400),
        (b"", "application/sdp", 400),
        (b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", "application/sdp", 400),
        (b"\xff\xfe", "application/sdp", 400),
        (b"v=0", "application/json", 415),
        (b"v" * 70_000, "application/sdp", 413),
    ],
)
def test_what_is_no_offer_is_one_line_and_takes_no_place(
    served: Served, body: bytes, kind: str, status: int
) -> None:
    session = open_session(served)
    path = f"/v1/sessions/{session}/whep"
    answer = served.request("POST", path, content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]["message"]
    assert len(served.table.find(session, "local").audience) == 0


def test_without_aiortc_the_answer_says_what_to_install(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoexport.runtime.serve.webrtc.peer.find_spec", lambda name: None)
    session = open_session(served)
    path = f"/v1/sessions/{session}/whep"
    answer = served.request("POST", path, content=b"v=0", headers=SDP)
    assert answer.status_code == 501
    assert "pip install 'echoexport[webrtc]'" in answer.json()["error"]["message"]


def test_no_address_of_an_offer_is_sent_to(served: Served) -> None:
    from echoexport.runtime.serve.webrtc.peer import strip_candidates

    async def scene() -> None:
        watcher = Watcher(served, "none")
        offer = await watcher.offer()
        assert "a=candidate" in offer
        stripped = strip_candidates(offer)
        assert "candidate" not in stripped
        assert "a=ice-ufrag" in stripped
        await watcher.connection.close()

    play(scene)


def test_nothing_is_sent_but_to_this_machine(served: Served) -> None:
    import sys

    import ifaddr

    own = {"127.0.0.1", "::1"}
    for adapter in ifaddr.get_adapters():
        own |= {ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips}
    seen: set[str] = set()
    listening = True

    def look(event: str, arguments: Any) -> None:
        if listening and event in ("socket.sendto", "socket.connect", "socket.getaddrinfo"):
            address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
            seen.add(str(address[0] if isinstance(address, tuple) else address))

    sys.addaudithook(look)
    session = open_session(served)

    async def scene() -> None:
        watcher = Watcher(served, session)
        await watcher.join()
        await watcher.receive("video", 3)
        await watcher.connection.close()

    play(scene)
    listening = False
    assert seen
    assert {address.partition("%")[0] for address in seen} <= own
