"""One viewer by WebRTC: its connection, from its offer until it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from echoexport.runtime.errors import MissingPackageError
from echoexport.runtime.serve.broadcast.packets import AUDIO, VIDEO, MediaPacket
from echoexport.runtime.serve.broadcast.viewers import Audience, Viewer
from echoexport.runtime.serve.refusals import RefusedError, refuse
from echoexport.runtime.serve.webrtc.tracks import MediaTrack, make_track

_CODECS = {VIDEO: ("video/h264", "video/rtx"), AUDIO: ("audio/opus",)}
_OPENING = 10.0  # seconds until it is connected
_LOOK = 1.0  # seconds between two looks whether it is still there
_SILENCE = 8.0  # seconds without a report of what was received
_OVER = ("failed", "closed")


class WebrtcPeer:
    """Answers an offer and sends what the session encodes until either side is over.

    All of it runs in one loop of asyncio.
    """

    def __init__(self, audience: Audience, *, on_end: Callable[[WebrtcPeer], None]) -> None:
        """Takes a viewer's place.

        Raises:
            CapacityError: there is none left.
        """
        self._audience = audience
        self._on_end = on_end
        self._viewer: Viewer = audience.join(wants_video=False, wants_packets=True)
        self._tracks: dict[str, MediaTrack] = {}
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None

    async def answer(self, offer: str) -> str:
        """The answer to an offer, both SDP; from then on it runs by itself.

        Raises:
            RefusedError: it is no offer that can be answered.
        """
        try:
            answer = await asyncio.wait_for(self._negotiate(offer), _OPENING)
        except Exception as error:  # of whatever kind: a parser's, of a stranger's text
            await self._end()
            # Without the parser's own words: they are about its insides.
            raise RefusedError(
                refuse(400, "the body is no SDP offer that receives H.264 video and Opus audio")
            ) from error
        except BaseException:
            await self._end()
            raise
        self._task = asyncio.create_task(self._run())
        return answer

    async def close(self) -> None:
        """End it."""
        if self._task is None:
            await self._end()
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _negotiate(self, offer: str) -> str:
        from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

        # An empty list: without one, aiortc asks a STUN server on the internet.
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        for kind, names in _CODECS.items():
            self._tracks[kind] = make_track(kind)
            sending = self._connection.addTransceiver(self._tracks[kind], direction="sendonly")
            known = RTCRtpSender.getCapabilities(kind).codecs
            sending.setCodecPreferences([one for one in known if one.mimeType.lower() in names])
        description = RTCSessionDescription(sdp=strip_candidates(offer), type="offer")
        await self._connection.setRemoteDescription(description)
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        sdp: str = self._connection.localDescription.sdp
        return sdp

    async def _run(self) -> None:
        both = [asyncio.create_task(self._send()), asyncio.create_task(self._watch())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            await self._end()

    async def _send(self) -> None:
        """Hand the packets on, from a key frame on; what comes before that is dropped."""
        began = asked = False
        while (item := await self._viewer.take()) is not None:
            if not isinstance(item, MediaPacket) or not self._is_connected():
                continue
            if not asked:
                asked = True
                self._audience.ask_key_frame()
            began = began or (item.kind == VIDEO and item.is_key)
            if began:
                self._tracks[item.kind].give(item)

    async def _watch(self) -> None:
        """Until it is not connected in time, or nothing is heard of it any more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _OPENING
        heard: set[Any] | None = None
        while loop.time() < until and self._connection.connectionState not in _OVER:
            await asyncio.sleep(_LOOK)
            if self._is_connected():
                reports = await self._find_reports()
                if reports != heard:
                    until = loop.time() + _SILENCE
                    heard = reports

    async def _find_reports(self) -> set[Any]:
        """When the other side last told what it received, of each track."""
        found = set()
        for sender in self._connection.getSenders():
            for report in (await sender.getStats()).values():
                if report.type == "remote-inbound-rtp":
                    found.add((report.id, report.timestamp))
        return found

    def _is_connected(self) -> bool:
        return bool(self._connection.connectionState == "connected")

    async def _end(self) -> None:
        self._audience.leave(self._viewer)
        self._on_end(self)
        if self._connection is not None:
            await self._connection.close()


def strip_candidates(offer: str) -> str:
    """An offer without addresses: the server sends to nobody who has not reached it first.

    Else whoever may watch could have it send to any address, and a browser's names under
    ``.local`` would be asked for in the whole network.
    """
    named = ("a=candidate:", "a=end-of-candidates", "a=remote-candidates:")
    lines = [line for line in offer.splitlines() if not line.startswith(named)]
    return "\r\n".join(lines) + "\r\n"


def require_webrtc_packages() -> None:
    """Raises MissingPackageError: what the extra "webrtc" brings is not installed."""
    if find_spec("aiortc") is None:
        raise MissingPackageError("aiortc", extra="webrtc", purpose="WebRTC")
