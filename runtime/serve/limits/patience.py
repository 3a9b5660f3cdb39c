"""HTTP as uvicorn speaks it, with an end to waiting: for a head, a body, and a reader."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""From the begin of a connection, or the end of an answer, to the end of the next head."""
BODY_SECONDS = 10.0
"""Without a byte of a body that was announced."""
BODY_RATE = 4096
"""Bytes a second that a body has on the whole, after its first ``BODY_SECONDS``."""
READER_SECONDS = 20.0
"""In which a reader takes too little for more to be written."""

_LOOK = 0.5
_WORDS = b"the request did not come in time\n"
_TIMED_OUT = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_WORDS), _WORDS)
)


class PatientProtocol(H11Protocol):
    """One connection; it is cut where the other side keeps it waiting.

    uvicorn itself waits for ever, so that a few hundred slow strangers would fill it.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._looking: asyncio.TimerHandle | None = None
        self._since = self._moved = self._read_at = self.loop.time()
        self._taken = 0
        self._answered: Any = None
        self._unread = 0
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._waits_for_body():
            self._moved = self.loop.time()
            self._taken += len(data)
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:  # a head is whole
            self._since = self._moved = self.loop.time()
            self._taken = 0

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`: enough was read that more may be written."""
        self._read_at = self.loop.time()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._looking = self.loop.call_later(_LOOK, self._look)

    def _look(self) -> None:
        """Cut the connection, or look again."""
        if self.transport.get_protocol() is not self:
            return  # it is a WebSocket by now, which has its pings
        if self._reader_stalls() or (self._waits_for_body() and self._body_stalls()):
            self.transport.abort()
        elif self._waits_for_head():
            if self.cycle is not self._answered:  # an answer ended since the last look
                self._answered = self.cycle
                self._since = self.loop.time()
            if self.loop.time() - self._since > HEAD_SECONDS and not self.transport.is_closing():
                self.transport.write(_TIMED_OUT)
                self.transport.close()
            self._look_later()
        else:
            self._look_later()

    def _waits_for_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _waits_for_body(self) -> bool:
        return not self._waits_for_head() and self.cycle.more_body and not self.flow.read_paused

    def _body_stalls(self) -> bool:
        now = self.loop.time()
        if now - self._moved > BODY_SECONDS:
            return True
        spent = now - self._since - BODY_SECONDS
        return spent > 0 and self._taken < BODY_RATE * spent

    def _reader_stalls(self) -> bool:
        """Whether what waits to be read has lain there for long."""
        unread = self.transport.get_write_buffer_size()
        now = self.loop.time()
        if not unread or (unread < self._unread and not self.flow.write_paused):
            self._read_at = now
        self._unread = unread
        return now - self._read_at > READER_SECONDS
