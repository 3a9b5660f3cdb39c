"""The Open Inference Protocol v2 by REST: what ``/v2`` answers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from echoexport.runtime.serve.inference.http_bodies import (
    HEADER_LENGTH,
    InferenceBody,
    write_answer,
)
from echoexport.runtime.serve.inference.plane import EXTENSIONS, SERVER, VERSION, InferencePlane
from echoexport.runtime.serve.inference.tensors import describe_tensor
from echoexport.runtime.serve.refusals import INFERENCE_PATHS, RefusedError, refuse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_PATIENCE = 30  # seconds for a request's body, which holds a place meanwhile


class InferenceEndpoints:
    """One method for each verb and path of the protocol."""

    def __init__(self, plane: InferencePlane) -> None:
        self._plane = plane
        # Its own threads: requests that wait for a worker are in nobody's way.
        self._pool = ThreadPoolExecutor(plane.most_at_once, thread_name_prefix="echoexport-v2")

    async def tell_server(self, request: Request) -> Response:
        """``GET /v2``."""
        told = {"name": SERVER, "version": self._plane.release, "extensions": list(EXTENSIONS)}
        return _answer(told)

    async def tell_life(self, request: Request) -> Response:
        """``GET /v2/health/live``."""
        return _answer({"live": True})

    async def tell_readiness(self, request: Request) -> Response:
        """``GET /v2/health/ready``: whether every network is open."""
        return _answer({"ready": self._plane.ready}, 200 if self._plane.ready else 503)

    async def tell_network(self, request: Request) -> Response:
        """``GET /v2/models/M[/versions/V]``."""
        spec = self._plane.find(*_read_address(request))
        return _answer(
            {
                "name": spec.name,
                "versions": [VERSION],
                "platform": self._plane.platform,
                "inputs": [describe_tensor(tensor) for tensor in spec.inputs],
                "outputs": [describe_tensor(tensor) for tensor in spec.outputs],
            }
        )

    async def tell_network_readiness(self, request: Request) -> Response:
        """``GET /v2/models/M[/versions/V]/ready``."""
        spec = self._plane.find(*_read_address(request))
        told = {"name": spec.name, "ready": self._plane.ready}
        return _answer(told, 200 if self._plane.ready else 503)

    async def infer(self, request: Request) -> Response:
        """``POST /v2/models/M[/versions/V]/infer``."""
        from starlette.responses import Response

        name, version = _read_address(request)
        with self._plane.admit(name, version):
            if request.headers.get("content-encoding", "identity") != "identity":
                raise RefusedError(refuse(400, "a compressed request is not read: send it as is"))
            try:
                body = await asyncio.wait_for(request.body(), _PATIENCE)
            except (TimeoutError, asyncio.TimeoutError):
                raise RefusedError(refuse(408, f"no whole request in {_PATIENCE} s")) from None
            length = request.headers.get(HEADER_LENGTH)
            loop = asyncio.get_running_loop()
            content, json_size = await loop.run_in_executor(
                self._pool, self._infer, name, version, body, length
            )
        if json_size is None:
            return Response(content, media_type="application/json")
        headers = {HEADER_LENGTH: str(json_size)}
        return Response(content, media_type="application/octet-stream", headers=headers)

    def _infer(
        self, name: str, version: str, body: bytes, length: str | None
    ) -> tuple[bytes, int | None]:
        read = InferenceBody(body, length)
        return write_answer(self._plane.infer(read.read_request(name, version)), read)


def list_inference_routes(plane: InferencePlane | None) -> list[Any]:
    """Of ``/v2``; without a plane, one that says how to get it."""
    from starlette.routing import Route

    root = INFERENCE_PATHS
    if plane is None:
        return [Route(path, _refuse_all) for path in (root, f"{root}/{{rest:path}}")]
    ends = InferenceEndpoints(plane)
    routes = [
        Route(root, ends.tell_server, methods=["GET"]),
        Route(f"{root}/health/live", ends.tell_life, methods=["GET"]),
        Route(f"{root}/health/ready", ends.tell_readiness, methods=["GET"]),
    ]
    for model in (f"{root}/models/{{model}}", f"{root}/models/{{model}}/versions/{{version}}"):
        routes += [
            Route(model, ends.tell_network, methods=["GET"]),
            Route(f"{model}/ready", ends.tell_network_readiness, methods=["GET"]),
            Route(f"{model}/infer", ends.infer, methods=["POST"]),
        ]
    return routes


async def _refuse_all(request: Request) -> Response:
    raise RefusedError(refuse(404, "the single networks are not served: start with --inference"))


def _read_address(request: Request) -> tuple[str, str]:
    return request.path_params["model"], request.path_params.get("version", "")


def _answer(told: dict[str, Any], status: int = 200) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(told, status_code=status)
