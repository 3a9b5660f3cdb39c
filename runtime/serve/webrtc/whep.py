"""WHEP: an offer in, an answer out, and an address to end what began."""

from __future__ import annotations

import asyncio
import importlib
import secrets
from typing import TYPE_CHECKING

from echoexport.runtime.serve.guard import find_owner
from echoexport.runtime.serve.refusals import RefusedError, refuse
from echoexport.runtime.serve.served import ServedSession
from echoexport.runtime.serve.table import SessionTable
from echoexport.runtime.serve.webrtc.peer import WebrtcPeer, require_webrtc_packages

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_SDP = "application/sdp"
_MOST_OFFER = 64 << 10  # bytes; a browser's have 6,000


class WhepEndpoints:
    """``/v1/sessions/ID/whep`` and what lies below it."""

    def __init__(self, table: SessionTable) -> None:
        self._table = table
        self._peers: dict[str, WebrtcPeer] = {}

    async def join(self, request: Request) -> Response:
        """``POST .../whep``: an SDP offer; 201, ``Location`` and the answer."""
        from starlette.responses import Response

        session = self._find(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _SDP:
            raise RefusedError(refuse(415, f"the body is an SDP offer, of type {_SDP}"))
        offer = await _read_offer(request)
        require_webrtc_packages()
        # Slow the first time; in a thread, so that nobody's frames wait for it.
        await asyncio.to_thread(importlib.import_module, "aiortc")
        name = f"{session.identity.name}/whep/{secrets.token_urlsafe(12)}"
        peer = WebrtcPeer(session.audience, on_end=lambda ended: self._forget(name))
        self._peers[name] = peer
        answer = await peer.answer(offer)
        headers = {"location": f"/v1/sessions/{name}"}
        return Response(answer, status_code=201, media_type=_SDP, headers=headers)

    async def leave(self, request: Request) -> Response:
        """``DELETE .../whep/PEER``."""
        from starlette.responses import Response

        session = self._find(request)
        peer = self._peers.get(f"{session.identity.name}/whep/{request.path_params['peer']}")
        if peer is None:
            raise RefusedError(refuse(404, "no such viewer"))
        await peer.close()
        return Response(status_code=204)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(peer.close() for peer in list(self._peers.values())))

    def _find(self, request: Request) -> ServedSession:
        return self._table.find(request.path_params["session"], find_owner(request.scope))

    def _forget(self, name: str) -> None:
        self._peers.pop(name, None)


async def _read_offer(request: Request) -> str:
    if int(request.headers.get("content-length", "0")) > _MOST_OFFER:
        raise RefusedError(refuse(413, f"an offer has at most {_MOST_OFFER} bytes"))
    body = await request.body()
    if len(body) > _MOST_OFFER:
        raise RefusedError(refuse(413, f"an offer has at most {_MOST_OFFER} bytes"))
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise RefusedError(refuse(400, "an offer is text")) from None
