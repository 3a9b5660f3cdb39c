"""``/v1/videos``: orders, their state, their progress as it happens, their mp4."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from echoexport.runtime.serve.guard import find_owner
from echoexport.runtime.serve.refusals import RefusedError, refuse
from echoexport.runtime.serve.settings import ServeSettings
from echoexport.runtime.serve.table import SessionTable
from echoexport.runtime.serve.videos.desk import VideoDesk
from echoexport.runtime.serve.videos.job import DONE, VideoJob
from echoexport.runtime.serve.videos.orders import read_order

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_LOOK = 0.1  # seconds between two looks whether there is news
_ALIVE = 150  # looks without news, after which a line says that the connection lives


class VideoEndpoints:
    """One method for each verb and path; errors are answered in one place, by the app."""

    def __init__(self, desk: VideoDesk, table: SessionTable, settings: ServeSettings) -> None:
        self._desk = desk
        self._table = table
        self._settings = settings

    def list_routes(self) -> list[Any]:
        """For the app."""
        from starlette.routing import Route

        video = "/v1/videos/{video}"
        return [
            Route("/v1/videos", self.list_videos, methods=["GET"]),
            Route("/v1/videos", self.order_video, methods=["POST"]),
            Route(video, self.describe_video, methods=["GET"]),
            Route(video, self.drop_video, methods=["DELETE"]),
            Route(f"{video}/events", self.tell_progress, methods=["GET"]),
            Route(f"{video}/video.mp4", self.give_video, methods=["GET"]),
        ]

    async def order_video(self, request: Request) -> Response:
        """``POST /v1/videos``: see :func:`read_order`."""
        from starlette.responses import JSONResponse

        owner = find_owner(request.scope)
        self._desk.require_room(owner)
        body = await request.body()
        order = await asyncio.to_thread(
            read_order,
            owner,
            body,
            content_type=request.headers.get("content-type", ""),
            query=request.query_params,
            shelf=self._table.shelf,
            settings=self._settings,
        )
        job = self._desk.submit(order)
        place = {"location": f"/v1/videos/{job.name}"}
        return JSONResponse(job.describe(), status_code=201, headers=place)

    async def list_videos(self, request: Request) -> Response:
        """``GET /v1/videos``: those of this token."""
        from starlette.responses import JSONResponse

        own = self._desk.list_own(find_owner(request.scope))
        return JSONResponse({"data": [job.describe() for job in own]})

    async def describe_video(self, request: Request) -> Response:
        """``GET /v1/videos/ID``."""
        from starlette.responses import JSONResponse

        return JSONResponse(self._find(request).describe())

    async def drop_video(self, request: Request) -> Response:
        """``DELETE /v1/videos/ID``: it ends, and its video is gone."""
        from starlette.responses import Response

        await asyncio.to_thread(self._desk.drop, self._find(request))
        return Response(status_code=204)

    async def tell_progress(self, request: Request) -> Response:
        """``GET /v1/videos/ID/events``: its state at each change, until it is over."""
        from starlette.responses import StreamingResponse

        return StreamingResponse(_tell(self._find(request)), media_type="text/event-stream")

    async def give_video(self, request: Request) -> Response:
        """``GET /v1/videos/ID/video.mp4``, or a range of it."""
        from starlette.responses import FileResponse

        job = self._find(request)
        if job.state != DONE or job.output is None or job.gone.is_set():
            raise RefusedError(refuse(409, f"the video is not there: its job is {job.state}"))
        return FileResponse(job.output, media_type="video/mp4")

    def _find(self, request: Request) -> VideoJob:
        return self._desk.find(request.path_params["video"], find_owner(request.scope))


async def _tell(job: VideoJob) -> AsyncIterator[str]:
    told = -1
    looks = 0
    while True:
        over, gone = job.over, job.gone.is_set()
        version = job.version  # last, so that the end is told before this ends
        if version != told:
            told, looks = version, 0
            yield _format_event("progress", job.describe())
        if gone or over:
            return
        await asyncio.sleep(_LOOK)
        looks += 1
        if looks % _ALIVE == 0:
            yield ": alive\n\n"


def _format_event(kind: str, facts: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(facts)}\n\n"
