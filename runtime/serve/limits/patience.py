"""HTTP as uvicorn speaks it, with an end to waiting: for a head, a body, and a reader."""

from __future__ import annotations

import asyncio
from typing import Any

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


def make_patient_protocol() -> Any:
    """A class of connections for uvicorn, which itself waits for ever.

    A few hundred slow strangers would else fill the server.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class PatientProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.watch = ConnectionWatch(self)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            self.watch.see(len(data))
            super().data_received(data)
            if self.cycle is not before:
                self.watch.begin_body()

        def resume_writing(self) -> None:
            self.watch.see_reader()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self.watch.end()
            super().connection_lost(exc)

    return PatientProtocol


class ConnectionWatch:
    """Looks at one connection now and then, and cuts it where the other side keeps it waiting."""

    def __init__(self, connection: Any) -> None:
        """``connection`` is uvicorn's ``H11Protocol``, whose transport is there."""
        self._connection = connection
        self._loop: asyncio.AbstractEventLoop = connection.loop
        begun = self._now()
        self._since, self._moved, self._read = begun, begun, begun
        self._taken = 0  # of the body
        self._unread = 0
        self._answered: Any = None
        self._timer = self._loop.call_later(_LOOK, self._look)

    def see(self, size: int) -> None:
        """So many bytes came."""
        self._moved = self._now()
        self._taken += size

    def begin_body(self) -> None:
        """A head is whole."""
        self._since = self._moved = self._now()
        self._taken = 0

    def see_reader(self) -> None:
        """Enough was read that more may be written."""
        self._read = self._now()

    def end(self) -> None:
        """The connection is over."""
        self._timer.cancel()

    def _now(self) -> float:
        return float(self._loop.time())

    def _look(self) -> None:
        """Cut the connection, or look again."""
        transport = self._connection.transport
        if transport.get_protocol() is not self._connection:
            return  # it is a WebSocket by now, which has its pings
        self._timer = self._loop.call_later(_LOOK, self._look)
        if self._is_unread() or self._lacks_body():
            transport.abort()
        elif self._lacks_head() and not transport.is_closing():
            transport.write(_TIMED_OUT)
            transport.close()

    def _lacks_head(self) -> bool:
        cycle = self._connection.cycle
        if cycle is not None and not cycle.response_complete:
            return False
        if cycle is not self._answered:  # an answer ended since the last look
            self._answered = cycle
            self._since = self._now()
        return self._now() - self._since > HEAD_SECONDS

    def _lacks_body(self) -> bool:
        cycle = self._connection.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            return False
        if self._connection.flow.read_paused:  # it is we who wait
            self._moved = self._now()
            return False
        spent = self._now() - self._since - BODY_SECONDS
        stalls = self._now() - self._moved > BODY_SECONDS
        return stalls or (spent > 0 and self._taken < BODY_RATE * spent)

    def _is_unread(self) -> bool:
        """Whether what waits to be read has lain there for long."""
        unread = self._connection.transport.get_write_buffer_size()
        paused = self._connection.flow.write_paused
        if not unread or (unread < self._unread and not paused):
            self.see_reader()
        self._unread = unread
        return self._now() - self._read > READER_SECONDS
