"""Tracks that give aiortc packets which are compressed already, so that it compresses nothing."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from echoexport.runtime.serve.broadcast.packets import MediaPacket

_MOST_WAITING = 64  # packets; they are sent at once, and none is kept for later


class MediaTrack(Protocol):
    """What :func:`make_track` makes, which is an ``aiortc.MediaStreamTrack`` too."""

    def give(self, packet: MediaPacket) -> None:
        """The next one."""
        ...


def make_track(kind: str) -> MediaTrack:
    """A track of ``VIDEO`` or ``AUDIO``, inside the running loop."""
    import av
    from aiortc import MediaStreamTrack

    class PacketTrack(MediaStreamTrack):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.kind = kind
            self._packets: asyncio.Queue[MediaPacket] = asyncio.Queue(_MOST_WAITING)

        def give(self, packet: MediaPacket) -> None:
            if self._packets.full():
                self._packets.get_nowait()
            self._packets.put_nowait(packet)

        async def recv(self) -> Any:
            given = await self._packets.get()
            packet = av.Packet(given.data)
            packet.pts = given.pts
            packet.time_base = given.time_base
            return packet

    track: MediaTrack = PacketTrack()
    return track
