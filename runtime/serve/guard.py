"""What stands before every request: host, origin, token, size; and the headers behind it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from echoexport.runtime.serve.access import Access, Visitor
from echoexport.runtime.serve.limits.memory import MemoryBudget
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.refusals import (
    INFERENCE_PATHS,
    Refusal,
    RefusedError,
    explain_error,
    refuse,
)
from echoexport.runtime.serve.settings import ServeSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""For who looks whether the server lives; they tell nothing else."""
_TOKEN_PATHS = frozenset({"/", "/v1/realtime"})  # where an address may hold the token
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "media-src 'self' blob:; img-src 'self' blob:; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self), screen-wake-lock=(self)",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application round another one."""

    def __init__(
        self,
        inner: Application,
        settings: ServeSettings,
        *,
        access: Access,
        log: ServeLog,
        budget: MemoryBudget,
        most_inference: int = 0,
    ) -> None:
        """``budget`` is what bodies are held in while they are read.

        ``most_inference``: bytes of a request that runs a network, where those are served.
        """
        self._inner = inner
        self._settings = settings
        self._access = access
        self._log = log
        self._most_inference = most_inference
        self._budget = budget

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        outcome = self._look_at(scope)
        if isinstance(outcome, Refusal):
            self._log.tell("refused", path=scope["path"], status=outcome.status)
            await _answer(scope, send, outcome)
            return
        scope.setdefault("state", {})["visitor"] = outcome
        if scope["type"] == "websocket":
            await self._inner(scope, receive, send)
        else:
            await self._pass(scope, receive, send, visitor=outcome)

    def _look_at(self, scope: Message) -> Visitor | Refusal:
        headers = read_headers(scope)
        if not self._access.allows_host(headers):
            return refuse(403, "the server is called by a name that is not its own")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if changes and not self._access.allows_origin(headers):
            return refuse(403, "pages of this origin may not connect; --origin names who may")
        if scope["path"] in OPEN_PATHS:
            return Visitor("")
        token = read_query(scope).get("token") if scope["path"] in _TOKEN_PATHS else None
        visitor = self._access.identify(headers, token=token)
        if visitor is None:
            return refuse(401, "a token is needed: 'Authorization: Bearer TOKEN'")
        size = headers.get("content-length", "0")
        most = self._find_most(scope["path"])
        if not size.isdecimal() or len(size) > 18 or int(size) > most:
            return _refuse_size(most)
        return visitor

    def _find_most(self, path: str) -> int:
        """Bytes of a request."""
        if self._most_inference and path.startswith(f"{INFERENCE_PATHS}/models/"):
            return self._most_inference
        return self._settings.most_body

    async def _pass(
        self, scope: Message, receive: Receive, send: Send, *, visitor: Visitor
    ) -> None:
        begun = False
        most = self._find_most(scope["path"])
        held = self._budget.take()
        whole = not _announces_body(scope)

        async def take() -> Message:
            nonlocal whole
            message = await receive()
            if message["type"] == "http.disconnect" and not whole:
                self._log.tell("cut off", path=scope["path"], bytes=held.size)
                raise RefusedError(refuse(400, "the request was cut off", kind="left"))
            whole = whole or not message.get("more_body", False)
            held.grow(len(message.get("body", b"")))
            if held.size > most:
                raise RefusedError(_refuse_size(most))
            return message

        async def give(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = _add_headers(message.get("headers", ()), visitor)
            await send(message)

        try:
            await self._inner(scope, take, give)
        except Exception as error:
            if not isinstance(error, RefusedError):
                self._log.fail("request failed", error, path=scope["path"])
            if not begun:
                await _answer(scope, send, explain_error(error))
        finally:
            held.give_back()


def _announces_body(scope: Message) -> bool:
    headers = read_headers(scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def find_owner(scope: Message) -> str:
    """Whose request this is, of one that the guard has let through."""
    visitor: Visitor = scope["state"]["visitor"]
    return visitor.owner


def _refuse_size(most: int) -> Refusal:
    return refuse(413, f"a request has at most {most} bytes here")


def read_headers(scope: Message) -> dict[str, str]:
    """By lower-case name; of several the first."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found


def read_query(scope: Message) -> dict[str, str]:
    """What stands behind the question mark; of several the first."""
    text = scope.get("query_string", b"").decode("latin-1")
    try:
        return {name: values[0] for name, values in parse_qs(text, max_num_fields=32).items()}
    except ValueError:
        return {}


def _add_headers(headers: Any, visitor: Visitor | None) -> list[tuple[bytes, bytes]]:
    added = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
    if visitor is not None and visitor.cookie is not None:
        added.append((b"set-cookie", visitor.cookie.encode()))
    return [*headers, *added]


async def _answer(scope: Message, send: Send, refusal: Refusal) -> None:
    """A refusal; to a WebSocket before its handshake where the server can say so."""
    start = "http.response.start"
    body = "http.response.body"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
            return
        start = "websocket.http.response.start"
        body = "websocket.http.response.body"
    told = json.dumps(refusal.describe_for(scope["path"])).encode()
    headers = {"content-type": "application/json", **refusal.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    if scope["type"] != "websocket":
        # older uvicorns count there too, and clients refuse a length that stands twice
        pairs.append((b"content-length", str(len(told)).encode()))
    await send({"type": start, "status": refusal.status, "headers": _add_headers(pairs, None)})
    await send({"type": body, "body": told})
