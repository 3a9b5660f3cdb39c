"""The REST twin of the WebSocket: sessions, their sound, their video, portraits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from echoexport.runtime.serve.broadcast.viewers import Audience
from echoexport.runtime.serve.guard import Message, Receive, Send, find_owner
from echoexport.runtime.serve.messages import check_pcm, check_rate_of_pcm
from echoexport.runtime.serve.refusals import RefusedError, refuse
from echoexport.runtime.serve.served import ServedSession
from echoexport.runtime.serve.settings import ServeSettings
from echoexport.runtime.serve.table import SessionTable
from echoexport.runtime.serve.voice.items import find_text

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class RestEndpoints:
    """One method for each verb and path; errors are answered in one place, by the app."""

    def __init__(self, table: SessionTable, settings: ServeSettings) -> None:
        self._table = table
        self._settings = settings

    async def open_session(self, request: Request) -> Response:
        """``POST /v1/sessions``: ``{"portrait": NAME}`` or nothing."""
        from starlette.responses import JSONResponse

        portrait = await _read_portrait_of(request)
        owner = find_owner(request.scope)
        session = await asyncio.to_thread(self._table.open, owner, portrait)
        return JSONResponse(session.describe(), status_code=201)

    async def list_sessions(self, request: Request) -> Response:
        """``GET /v1/sessions``: those of this token."""
        from starlette.responses import JSONResponse

        own = self._table.list_own(find_owner(request.scope))
        return JSONResponse({"data": [session.describe() for session in own]})

    async def push_chunk(self, request: Request) -> Response:
        """``POST /v1/sessions/ID/chunks?rate=24000&end=1``: raw PCM, and whether it ends here."""
        from starlette.responses import JSONResponse

        session = self._find(request)
        rate = _read_rate_of(request, session)
        pcm = check_pcm(await request.body())
        if pcm:
            await asyncio.to_thread(session.push, pcm, rate)
        if request.query_params.get("end") == "1":
            await asyncio.to_thread(session.flush)
        return JSONResponse({"pending_seconds": round(session.pending, 3)}, status_code=202)

    async def say_text(self, request: Request) -> Response:
        """``POST /v1/sessions/ID/say``: ``{"text": ...}``, spoken by the server's voice."""
        from starlette.responses import JSONResponse

        session = self._find(request)
        text = find_text(await _read_json(request))
        response = await asyncio.to_thread(session.say, text)
        return JSONResponse({"response": response}, status_code=202)

    async def interrupt_session(self, request: Request) -> Response:
        """``POST /v1/sessions/ID/interrupt``: stop speaking."""
        from starlette.responses import Response

        await asyncio.to_thread(self._find(request).interrupt)
        return Response(status_code=204)

    async def close_session(self, request: Request) -> Response:
        """``DELETE /v1/sessions/ID``."""
        from starlette.responses import Response

        await asyncio.to_thread(self._find(request).close, "its owner ended it")
        return Response(status_code=204)

    async def stream_video(self, request: Request) -> VideoStream:
        """``GET /v1/sessions/ID/stream.mp4``: from the next key frame on."""
        return VideoStream(self._find(request).audience, patience=2 * self._settings.queue)

    async def list_portraits(self, request: Request) -> Response:
        """``GET /v1/portraits``: the server's own."""
        from starlette.responses import JSONResponse

        return JSONResponse({"data": self._table.shelf.names})

    async def upload_portrait(self, request: Request) -> Response:
        """``POST /v1/portraits``: a picture as the body; its id is for this token alone."""
        from starlette.responses import JSONResponse

        content = await request.body()
        owner = find_owner(request.scope)
        name = await asyncio.to_thread(self._table.shelf.upload, content, owner)
        return JSONResponse({"portrait": name}, status_code=201)

    def _find(self, request: Request) -> ServedSession:
        return self._table.find(request.path_params["session"], find_owner(request.scope))


class VideoStream:
    """An answer without an end: fragments as they come, until the session or the reader is over."""

    def __init__(self, audience: Audience, *, patience: float) -> None:
        """``patience``: seconds that a reader may take for one fragment."""
        self._audience = audience
        self._patience = patience

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer. Who is too slow finds the answer cut short, not ended."""
        viewer = self._audience.join()
        leaving = asyncio.create_task(_wait_for_leave(receive))
        leaving.add_done_callback(lambda _: viewer.end("gone"))
        headers = [(b"content-type", b"video/mp4")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while (item := await viewer.take()) is not None:
                if isinstance(item, bytes):
                    part = {"type": "http.response.body", "body": item, "more_body": True}
                    await asyncio.wait_for(send(part), timeout=self._patience)
            await send({"type": "http.response.body", "body": b""})
        except (TimeoutError, asyncio.TimeoutError):
            return
        finally:
            leaving.cancel()
            self._audience.leave(viewer)


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_portrait_of(request: Request) -> str | None:
    """Raises RefusedError: the body is no JSON object, or names no portrait."""
    if not await request.body():
        return None
    wanted = await _read_json(request)
    if not isinstance(wanted, dict):
        raise RefusedError(refuse(400, "the body is a JSON object, or empty"))
    portrait = wanted.get("portrait")
    if portrait is not None and not isinstance(portrait, str):
        raise RefusedError(refuse(400, "'portrait' is a name, or the id of an upload"))
    return portrait


async def _read_json(request: Request) -> Any:
    """The body; None where it is no JSON."""
    try:
        return await request.json()
    except (ValueError, RecursionError):
        return None


def _read_rate_of(request: Request, session: ServedSession) -> int:
    sent = request.query_params.get("rate")
    if sent is None:
        return session.rate
    return check_rate_of_pcm(int(sent) if sent.isdecimal() and len(sent) < 8 else sent)
