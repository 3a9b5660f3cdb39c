"""The ASGI application: what is answered where, and every error in one place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoexport.runtime.errors import EchoExportError
from echoexport.runtime.serve.access import Access
from echoexport.runtime.serve.guard import Application, Guard
from echoexport.runtime.serve.inference.plane import InferencePlane
from echoexport.runtime.serve.inference.rest_v2 import list_inference_routes
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.realtime import RealtimeEndpoint
from echoexport.runtime.serve.refusals import RefusedError, explain_error, refuse
from echoexport.runtime.serve.rest import RestEndpoints
from echoexport.runtime.serve.settings import ServeSettings
from echoexport.runtime.serve.table import SessionTable
from echoexport.runtime.serve.videos.desk import VideoDesk
from echoexport.runtime.serve.videos.endpoints import VideoEndpoints
from echoexport.runtime.serve.webrtc.whep import WhepEndpoints

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "kiosk.mjs": "text/javascript; charset=utf-8",
    "panel.mjs": "text/javascript; charset=utf-8",
    "captions.mjs": "text/javascript; charset=utf-8",
    "figures.mjs": "text/javascript; charset=utf-8",
    "microphone.mjs": "text/javascript; charset=utf-8",
    "webrtc.mjs": "text/javascript; charset=utf-8",
    "rest.mjs": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""What the page is made of; no other file is given out."""

_SWEEP = 1.0  # seconds


def make_app(
    table: SessionTable,
    settings: ServeSettings,
    *,
    videos: VideoDesk,
    log: ServeLog,
    plane: InferencePlane | None = None,
) -> Application:
    """Everything that one port answers; the single networks where there is a ``plane``."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException

    async def answer_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, (EchoExportError, RefusedError, HTTPException)):
            log.fail("request failed", error, path=request.url.path)
        return _answer_error(error, request.url.path)

    whep = WhepEndpoints(table)
    kinds = (EchoExportError, RefusedError, HTTPException, Exception)
    inner: Any = Starlette(
        routes=[
            *_list_routes(table, settings, log=log),
            *VideoEndpoints(videos, table, settings).list_routes(),
            *_list_whep_routes(whep),
            *list_inference_routes(plane),
        ],
        lifespan=_make_lifespan(table, videos, whep, log=log),
        exception_handlers=dict.fromkeys(kinds, answer_error),
    )
    most = 0 if plane is None else plane.most_request
    access = Access(settings)
    return Guard(inner, settings, access=access, log=log, budget=table.budget, most_inference=most)


def _list_routes(table: SessionTable, settings: ServeSettings, *, log: ServeLog) -> list[Any]:
    from starlette.routing import Route, WebSocketRoute

    rest = RestEndpoints(table, settings)
    realtime = RealtimeEndpoint(table, settings, log=log)
    session = "/v1/sessions/{session}"
    return [
        Route("/v1/sessions", rest.list_sessions, methods=["GET"]),
        Route("/v1/sessions", rest.open_session, methods=["POST"]),
        Route(session, rest.close_session, methods=["DELETE"]),
        Route(f"{session}/chunks", rest.push_chunk, methods=["POST"]),
        Route(f"{session}/say", rest.say_text, methods=["POST"]),
        Route(f"{session}/interrupt", rest.interrupt_session, methods=["POST"]),
        Route(f"{session}/stream.mp4", rest.stream_video, methods=["GET"]),
        Route("/v1/portraits", rest.list_portraits, methods=["GET"]),
        Route("/v1/portraits", rest.upload_portrait, methods=["POST"]),
        WebSocketRoute("/v1/realtime", realtime.serve),
        *_list_watch_routes(table),
        Route("/", _give_page, methods=["GET"]),
        Route("/page/{file}", _give_page, methods=["GET"]),
    ]


def _list_whep_routes(whep: WhepEndpoints) -> list[Any]:
    from starlette.routing import Route

    path = "/v1/sessions/{session}/whep"
    return [
        Route(path, whep.join, methods=["POST"]),
        # Without PATCH: an answer names all addresses, and asks for none.
        Route(f"{path}/{{peer}}", whep.leave, methods=["DELETE"]),
    ]


def _list_watch_routes(table: SessionTable) -> list[Any]:
    """For who looks after the server."""
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def tell_life(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def tell_readiness(request: Request) -> Response:
        if table.warm:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("warming up\n", status_code=503)

    async def give_figures(request: Request) -> Response:
        text = await asyncio.to_thread(table.figures.write)
        return Response(text, media_type="text/plain; version=0.0.4")

    return [
        Route("/healthz", tell_life, methods=["GET"]),
        Route("/readyz", tell_readiness, methods=["GET"]),
        Route("/metrics", give_figures, methods=["GET"]),
    ]


async def _give_page(request: Request) -> Response:
    from starlette.responses import Response

    name = request.path_params.get("file", "index.html")
    if name not in PAGE_FILES:
        raise RefusedError(refuse(404, "the page has no such file"))
    return Response((PAGE / name).read_bytes(), media_type=PAGE_FILES[name])


def _answer_error(error: Exception, path: str) -> Response:
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse

    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):  # of the router: no such path or verb
        refusal = refuse(error.status_code, error.detail)
        headers = dict(error.headers or {})
    else:
        refusal = explain_error(error)
    return JSONResponse(
        refusal.describe_for(path), status_code=refusal.status, headers=headers | refusal.headers
    )


def _make_lifespan(
    table: SessionTable, videos: VideoDesk, whep: WhepEndpoints, *, log: ServeLog
) -> Any:
    @asynccontextmanager
    async def live(app: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep([table.end_idle, videos.sweep], log=log))
        try:
            yield
        finally:
            sweeping.cancel()
            await whep.close()

    return live


async def _sweep(sweepers: Sequence[Callable[[], None]], *, log: ServeLog) -> None:
    """Clear away for as long as the server runs, whatever goes wrong on the way."""
    while True:
        await asyncio.sleep(_SWEEP)
        for sweep in sweepers:
            try:
                await asyncio.to_thread(sweep)
            except Exception as error:
                log.fail("clearing away failed", error)
