"""The WebSocket: sound and words in, fragments of video and events out."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from echoexport.runtime.errors import EchoExportError
from echoexport.runtime.serve import messages
from echoexport.runtime.serve.broadcast.viewers import SLOW, Viewer
from echoexport.runtime.serve.guard import find_owner
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.refusals import Refusal, RefusedError, explain_error
from echoexport.runtime.serve.served import ServedSession
from echoexport.runtime.serve.settings import ServeSettings
from echoexport.runtime.serve.table import SessionTable
from echoexport.runtime.serve.voice.items import (
    describe_item,
    find_item_text,
    find_response_text,
)

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

# Of RFC 6455.
_NORMAL = 1000
_POLICY = 1008
_TRY_LATER = 1013

_FAULTS = (EchoExportError, RefusedError)


class RealtimeEndpoint:
    """What ``/v1/realtime`` does with each connection.

    ``?session=ID`` joins one that is there; else one begins with the connection and ends
    with it. ``?portrait=NAME`` is what it shows, ``?video=0`` asks for events alone.
    """

    def __init__(self, table: SessionTable, settings: ServeSettings, *, log: ServeLog) -> None:
        self._table = table
        self._settings = settings
        self._log = log

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, to its end."""
        await websocket.accept()
        owner = find_owner(websocket.scope)
        query = websocket.query_params
        joined = query.get("session")
        try:
            session = await self._find(owner, joined, portrait=query.get("portrait"))
            created = {"type": "session.created", "session": session.describe()}
            wants_video = query.get("video") != "0"
            viewer = session.audience.join(wants_video=wants_video, greeting=created)
        except Exception as error:
            await self._turn_away(websocket, error)
            return
        try:
            await self._converse(websocket, session, viewer)
        finally:
            session.audience.leave(viewer)
            if joined is None:
                await asyncio.shield(asyncio.to_thread(session.close, "its connection ended"))

    async def _find(self, owner: str, joined: str | None, *, portrait: str | None) -> ServedSession:
        if joined is not None:
            return self._table.find(joined, owner)
        return await asyncio.to_thread(self._table.open, owner, portrait)

    async def _turn_away(self, websocket: WebSocket, error: Exception) -> None:
        refusal = explain_error(error)
        if not isinstance(error, _FAULTS):
            self._log.fail("a session did not begin", error)
        self._log.tell("turned away", status=refusal.status, reason=refusal.message)
        code = _TRY_LATER if refusal.status in (429, 503) else _POLICY
        try:
            await websocket.send_text(json.dumps(_describe(refusal)))
            await websocket.close(code, reason=refusal.message[:120])
        except Exception:  # it has left already, in whatever way
            return

    async def _converse(self, websocket: WebSocket, session: ServedSession, viewer: Viewer) -> None:
        """Both ways at once, until either is over."""
        both = [
            asyncio.create_task(self._listen(websocket, session, viewer)),
            asyncio.create_task(self._show(websocket, viewer)),
        ]
        done, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in done:
            error = task.exception()
            if error is not None and not _is_departure(error):
                self._log.fail("a connection failed", error)

    async def _show(self, websocket: WebSocket, viewer: Viewer) -> None:
        """Send what comes; who takes nothing for long is cut."""
        while (item := await viewer.take()) is not None:
            sending = (
                websocket.send_bytes(item)
                if isinstance(item, bytes)
                else websocket.send_text(json.dumps(item))
            )
            await asyncio.wait_for(sending, timeout=2 * self._settings.queue)
        slow = viewer.ended == SLOW
        if slow:
            told = {"type": "error", "error": {"type": "too_slow", "message": SLOW}}
            await asyncio.wait_for(websocket.send_text(json.dumps(told)), self._settings.queue)
        reason = (viewer.ended or "")[:120]
        await websocket.close(_POLICY if slow else _NORMAL, reason=reason)

    async def _listen(self, websocket: WebSocket, session: ServedSession, viewer: Viewer) -> None:
        """Do what is asked; what cannot be done is told, and the connection goes on."""
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                await asyncio.to_thread(self._do, session, viewer, message)
            except _FAULTS as error:
                viewer.tell(_describe(explain_error(error)))

    def _do(self, session: ServedSession, viewer: Viewer, message: Any) -> None:
        pcm = message.get("bytes")
        if pcm is not None:
            session.push(messages.check_pcm(pcm), session.rate)
            return
        asked = messages.read_message(message.get("text") or "")
        kind = asked["type"]
        if kind == messages.APPEND:
            session.push(messages.find_sound(asked), session.rate)
            return
        if kind == messages.UPDATE:
            is_new_face = self._update(session, viewer, asked)
            tell = session.audience.tell if is_new_face else viewer.tell
            tell({"type": messages.ANSWERS[kind], "session": session.describe()})
            return
        if kind == messages.RESPONSE:
            self._speak(session, asked)
            return
        if kind == messages.ITEM:
            session.draft(find_item_text(asked))
            viewer.tell({"type": messages.ANSWERS[kind], "item": describe_item(asked)})
            return
        if kind == messages.COMMIT:
            session.flush()
        else:
            session.interrupt()
        viewer.tell({"type": messages.ANSWERS[kind]})

    def _speak(self, session: ServedSession, asked: dict[str, Any]) -> None:
        text = find_response_text(asked)
        if text is None:
            session.say_drafts()
        else:
            session.say(text)

    def _update(self, session: ServedSession, viewer: Viewer, asked: dict[str, Any]) -> bool:
        """Whether it has another face now; all is read before any of it is done."""
        video = messages.find_video_wish(asked)
        rate = messages.read_rate(asked)
        portrait = messages.find_portrait_name(asked)
        is_new_face = portrait is not None and portrait != session.identity.portrait
        if portrait is not None and is_new_face:
            picture = self._table.shelf.find(portrait, session.identity.owner)
            session.show(picture, portrait, face=self._table.choose_face(picture))
        session.rate = rate or session.rate
        if video is not None:
            session.audience.turn_video(viewer, wanted=video)
        return is_new_face


def _describe(refusal: Refusal) -> dict[str, Any]:
    return {"type": "error", "error": refusal.describe()}


def _is_departure(error: BaseException) -> bool:
    """Whether the other side has left, or takes nothing."""
    from starlette.websockets import WebSocketDisconnect

    return isinstance(error, (WebSocketDisconnect, TimeoutError, asyncio.TimeoutError, OSError))
