"""Who watches a session: each with a bounded queue, begun at a key frame, cut when too slow."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any

from echoexport.runtime.errors import CapacityError
from echoexport.runtime.serve.broadcast.boxes import Fragment
from echoexport.runtime.serve.broadcast.packets import MediaPacket

ServeEvent = dict[str, Any]
ViewerItem = bytes | MediaPacket | ServeEvent
"""What a viewer takes: a fragment, a packet, or an event."""
SLOW = "too slow: the video is shown live and is not kept for later"


class Viewer:
    """One reader's queue, filled by the session's thread and emptied in a loop of asyncio.

    It holds whole fragments as bytes, packets, and events as dicts, in their order.
    """

    def __init__(self, *, most: int, wants_video: bool = True, wants_packets: bool = False) -> None:
        """``most`` of them wait at most; made inside the running loop."""
        self.wants_video = wants_video
        self.wants_packets = wants_packets
        self.ended: str | None = None
        """Why nothing more comes, once that is so."""
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._filled = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: deque[ViewerItem] = deque()
        self._began = False

    def begin(self, head: bytes | None) -> None:
        """What every player needs first, where it is there already."""
        self._began = False
        if head is not None:
            self._put(head)

    def show(self, fragment: Fragment) -> None:
        """The next fragment; those before a key frame are passed over."""
        if not self.wants_video:
            return
        self._began = self._began or fragment.is_key
        if self._began or fragment.is_head:
            self._put(fragment.data)

    def show_packet(self, packet: MediaPacket) -> None:
        """The next packet."""
        if self.wants_packets:
            self._put(packet)

    def tell(self, event: ServeEvent) -> None:
        """Something happened."""
        self._put(event)

    def end(self, reason: str, *, last: ServeEvent | None = None) -> None:
        """Nothing more comes after what waits, and after ``last`` where this is what ends it."""
        with self._lock:
            if self.ended is None:
                self.ended = reason
                self._waiting.extend([] if last is None else [last])
        self._wake()

    async def take(self) -> ViewerItem | None:
        """The next fragment, packet or event, as soon as there is one; None at the end."""
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting.popleft()
                if self.ended is not None:
                    return None
                self._filled.clear()
            await self._filled.wait()

    def _put(self, item: ViewerItem) -> None:
        with self._lock:
            if self.ended is not None:
                return
            if len(self._waiting) >= self._most:
                self._waiting.clear()
                self.ended = SLOW
            else:
                self._waiting.append(item)
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._filled.set)
        except RuntimeError:  # its loop is over, and so is it
            self.ended = self.ended or "gone"


class Audience:
    """All viewers of one session; any thread may call."""

    def __init__(self, *, most_viewers: int, most_waiting: int) -> None:
        self.head: bytes | None = None
        self.cut = 0
        """Viewers that were too slow."""
        self._most_viewers = most_viewers
        self._most_waiting = most_waiting
        self._viewers: list[Viewer] = []
        self._ended: str | None = None
        self._last: ServeEvent | None = None
        self._key_wanted = False
        self._lock = threading.RLock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._viewers)

    @property
    def wants_packets(self) -> bool:
        """Whether anybody does."""
        with self._lock:
            return any(viewer.wants_packets for viewer in self._viewers)

    def join(
        self,
        *,
        wants_video: bool = True,
        wants_packets: bool = False,
        greeting: ServeEvent | None = None,
    ) -> Viewer:
        """One more, inside its loop; the greeting comes before anything else.

        ``wants_video`` is for fragments, ``wants_packets`` for the packets themselves.

        Raises:
            CapacityError: there are as many as may be.
        """
        with self._lock:
            if len(self._viewers) >= self._most_viewers:
                raise CapacityError(f"{self._most_viewers} watch this session, and no more may")
            viewer = Viewer(
                most=self._most_waiting, wants_video=wants_video, wants_packets=wants_packets
            )
            if greeting is not None:
                viewer.tell(greeting)
            if self._ended is not None:
                viewer.end(self._ended, last=self._last)
            elif wants_video:
                viewer.begin(self.head)
            self._viewers.append(viewer)
            return viewer

    def leave(self, viewer: Viewer) -> None:
        """It watches no more."""
        with self._lock:
            if viewer in self._viewers:
                self._viewers.remove(viewer)

    def show(self, fragment: Fragment) -> None:
        """To all of them."""
        with self._lock:
            if fragment.is_head:
                self.head = fragment.data
            for viewer in self._viewers:
                viewer.show(fragment)
            self._drop_cut()

    def turn_video(self, viewer: Viewer, *, wanted: bool) -> None:
        """Fragments for one that had none, its head first, or none any more."""
        with self._lock:
            if wanted and not viewer.wants_video:
                viewer.begin(self.head)
            viewer.wants_video = wanted

    def show_packet(self, packet: MediaPacket) -> None:
        """To all of them that want packets."""
        with self._lock:
            for viewer in self._viewers:
                viewer.show_packet(packet)
            self._drop_cut()

    def ask_key_frame(self) -> None:
        """Somebody is to begin; who encodes looks with :meth:`take_key_wish`."""
        self._key_wanted = True

    def take_key_wish(self) -> bool:
        """Whether somebody asked since the last time."""
        wanted, self._key_wanted = self._key_wanted, False
        return wanted

    def tell(self, event: ServeEvent) -> None:
        """To all of them."""
        with self._lock:
            for viewer in self._viewers:
                viewer.tell(event)
            self._drop_cut()

    def end(self, reason: str, *, last: ServeEvent | None = None) -> None:
        """The session is over; ``last`` is the last that anybody is told, whatever else is."""
        with self._lock:
            if self._ended is None:
                self._ended, self._last = reason, last
            for viewer in self._viewers:
                viewer.end(self._ended, last=self._last)

    def _drop_cut(self) -> None:
        cut = [viewer for viewer in self._viewers if viewer.ended == SLOW]
        self.cut += len(cut)
        for viewer in cut:
            self._viewers.remove(viewer)
