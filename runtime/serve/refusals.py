"""Errors as a client sees them: a status code, one line, and when to come again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from echoexport.runtime.errors import (
    BackendError,
    BundleError,
    CapacityError,
    EchoExportError,
    InputError,
    MissingPackageError,
    UnknownNameError,
)

INFERENCE_PATHS = "/v2"
"""Where the single networks are; errors below it have their protocol's own form."""
RETRY_AFTER = 5
"""Seconds after which a client that found no room may ask again."""

# The first that fits, so that a kind comes before what it is a kind of.
_CODES: tuple[tuple[type[BaseException], int, str], ...] = (
    (CapacityError, 429, "capacity"),
    (InputError, 400, "invalid_request"),
    (UnknownNameError, 404, "not_found"),
    (MissingPackageError, 501, "not_installed"),
    (BackendError, 503, "engine_failed"),
    (BundleError, 503, "bundle_failed"),
    (EchoExportError, 400, "invalid_request"),
)
_KINDS = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    429: "capacity",
    503: "not_ready",
}


@dataclass(frozen=True)
class Refusal:
    """An answer that says no."""

    status: int
    """Of HTTP."""
    kind: str
    """One word that a program may act on."""
    message: str
    """One line for who reads it."""

    @property
    def headers(self) -> dict[str, str]:
        """That go with the status."""
        if self.status == 401:
            return {"www-authenticate": "Bearer"}
        return {"retry-after": str(RETRY_AFTER)} if self.status in (429, 503) else {}

    def describe_for(self, path: str) -> dict[str, Any]:
        """The whole answer of a path: for the single networks the error is the line alone."""
        single = path == INFERENCE_PATHS or path.startswith(f"{INFERENCE_PATHS}/")
        return {"error": self.message if single else self.describe()}

    def describe(self) -> dict[str, Any]:
        """As JSON: the ``error`` of an answer or an event."""
        told: dict[str, Any] = {
            "type": self.kind,
            "status": self.status,
            "message": self.message,
        }
        if self.status in (429, 503):
            told["retry_after"] = RETRY_AFTER
        return told


class RefusedError(Exception):
    """Raised inside the server alone: a request is answered with this."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(status: int, message: str, *, kind: str | None = None) -> Refusal:
    """A refusal of the server's own; ``kind`` None is the usual one of its status."""
    return Refusal(status, kind or _KINDS.get(status, "error"), message)


STOPPING = refuse(503, "the server stops")
"""Whatever is asked for from the moment on at which the server is told to stop."""


def explain_error(error: BaseException) -> Refusal:
    """What a client is told of an error; of one that is a defect, only that there was one."""
    if isinstance(error, RefusedError):
        return error.refusal
    for kind, status, word in _CODES:
        if isinstance(error, kind):
            return Refusal(status, word, " ".join(str(error).split()))
    return Refusal(500, "internal", "the server failed at this; its log says how")
