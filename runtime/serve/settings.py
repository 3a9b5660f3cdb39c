"""How a server listens and what it bounds, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from echoexport.runtime.errors import SettingError

_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class ServeSettings:
    """Where to listen, who may come, and how much of everything."""

    host: str = "127.0.0.1"
    """Any other than a loopback address wants a token."""
    port: int = 8080
    """0 takes a free one."""
    tokens: tuple[str, ...] = ()
    """Each a user of his own; none: whoever reaches the loopback address is one and the same."""
    origins: tuple[str, ...] = ()
    """Of pages from elsewhere that may connect, as ``https://kiosk.example``."""
    certificate: Path | None = None
    """PEM, with ``key``: the server then speaks HTTPS alone."""
    key: Path | None = None
    """PEM."""
    inference: bool = False
    """Whether ``/v2`` runs the single networks."""
    grpc_port: int | None = None
    """The same by gRPC on a port of its own; 0 takes a free one, None opens none."""
    sessions: int | None = None
    """At most at once; None lets the device's measured capacity decide."""
    sessions_per_token: int = 8
    """At most at once of one token."""
    viewers: int = 16
    """Of one session at once."""
    portraits_per_token: int = 8
    """Uploads that are kept, in memory; the oldest go."""
    most_body: int = 16 << 20
    """Bytes of a request."""
    most_message: int = 4 << 20
    """Bytes of a WebSocket message."""
    most_pixels: int = 25_000_000
    """Of an uploaded picture, looked at before it is decoded."""
    most_sound: float = 60.0
    """Seconds of sound that may wait to be spoken."""
    most_memory: int = 512 << 20
    """Bytes of uploads, kept videos and sound that waits, of all users together."""
    videos: int = 16
    """Jobs for videos that wait or run, of all users together."""
    videos_per_token: int = 4
    """Of them, of one token."""
    most_video_sound: float = 600.0
    """Seconds of a video's voice."""
    kept_videos: int = 256 << 20
    """Bytes of videos that are done; the oldest go."""
    kept_jobs: int = 256
    """Jobs that are over, done or failed, of all users together; the oldest go."""
    kept_for: float = 3600.0
    """Seconds for which a video that is done is kept."""
    idle: float = 60.0
    """Seconds after which a session ends that nobody speaks to and nobody watches."""
    queue: float = 3.0
    """Seconds by which a viewer may lag before it is cut."""


def check_serve_settings(settings: ServeSettings) -> None:
    """Refuse what cannot work or is not safe.

    Raises:
        SettingError: an address beyond the loopback without a token, a port that is none,
            a certificate without its key.
    """
    for port in (settings.port, settings.grpc_port or 0):
        if not 0 <= port <= 65535:
            raise SettingError(f"port {port}: 0 to 65535 is wanted; 0 takes a free one")
    if not is_loopback(settings.host) and not settings.tokens:
        raise SettingError(
            f"host {settings.host}: others reach this address, so a token is needed: write one of "
            f"{_SHORTEST_TOKEN} letters or more into a file and give --token-file"
        )
    if (settings.certificate is None) != (settings.key is None):
        raise SettingError("a certificate and its key go together: --tls-cert and --tls-key")
    if settings.sessions is not None and settings.sessions < 1:
        raise SettingError(f"sessions {settings.sessions}: 1 or more is wanted, or auto")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens of a file, one a line; empty lines and those that begin with # are none.

    Raises:
        SettingError: it cannot be read, holds none, or one that is too short or has blanks.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise SettingError(f"token file {path}: {reason}") from error
    found = [line.strip() for line in lines]
    tokens = tuple(line for line in found if line and not line.startswith("#"))
    if not tokens:
        raise SettingError(f"token file {path}: holds no token; one a line is wanted")
    for number, token in enumerate(tokens, start=1):
        usable = token.isascii() and token.isprintable() and " " not in token
        if not usable or len(token) < _SHORTEST_TOKEN:
            raise SettingError(
                f"token file {path}: token {number} is too short or has odd letters; "
                f"{_SHORTEST_TOKEN} or more ASCII letters without blanks are wanted"
            )
    return tokens
