"""Who comes, and from which page: tokens, the page's cookie, origins and host names."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from echoexport.runtime.serve.settings import ServeSettings, is_loopback

COOKIE = "echoexport"
LOCAL = "local"
"""The owner of what was begun where no token is asked for."""


@dataclass(frozen=True)
class Visitor:
    """Whoever may come in."""

    owner: str
    """The same for each request with one token, and not the token."""
    cookie: str | None = None
    """For a page that was opened with the token in its address: what it is exchanged for."""


class Access:
    """Decides who comes in; it holds no state, so that cookies outlive a restart."""

    def __init__(self, settings: ServeSettings) -> None:
        self._tokens = settings.tokens
        self._origins = frozenset(settings.origins)
        self._secure = settings.certificate is not None

    def identify(self, headers: Mapping[str, str], *, token: str | None = None) -> Visitor | None:
        """Who sends these headers (by lower-case name); None for a stranger.

        ``token`` is that of an address, where one may stand in it.
        """
        if not self._tokens:
            return Visitor(LOCAL)
        kind, _, sent = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and (known := self._find(sent.strip())) is not None:
            return Visitor(_name_owner(known))
        if token is not None and (known := self._find(token)) is not None:
            return Visitor(_name_owner(known), cookie=self._bake(known))
        known = self._find_baked(_read_cookie(headers.get("cookie", "")))
        return None if known is None else Visitor(_name_owner(known))

    def allows_host(self, headers: Mapping[str, str]) -> bool:
        """Whether the server is called by a name of its own.

        Without a token only loopback names are: a page from elsewhere whose name was made
        to lead here (DNS rebinding) has another.
        """
        return bool(self._tokens) or is_loopback(_name_host(headers.get("host", "")))

    def allows_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether the page that sends this is ours or a named one; programs send no origin."""
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return True
        scheme = "https" if self._secure else "http"
        own = headers.get("host", "")
        # Behind a proxy that ends TLS our page is an https one.
        return bool(own) and origin in (f"{scheme}://{own}", f"https://{own}")

    def _find(self, sent: str) -> str | None:
        """The token that was sent, each looked at for as long as any other."""
        digest = sha256(sent.encode()).digest()
        found = None
        for token in self._tokens:
            if hmac.compare_digest(sha256(token.encode()).digest(), digest):
                found = token
        return found

    def _find_baked(self, sent: str | None) -> str | None:
        found = None
        for token in self._tokens if sent else ():
            if hmac.compare_digest(_derive(token).encode(), (sent or "").encode()):
                found = token
        return found

    def _bake(self, token: str) -> str:
        parts = [f"{COOKIE}={_derive(token)}", "Path=/", "HttpOnly", "SameSite=Strict"]
        return "; ".join([*parts, *(["Secure"] if self._secure else []), "Max-Age=31536000"])


def _derive(token: str) -> str:
    """What stands for a token in a cookie and does not tell it."""
    return hmac.new(token.encode(), b"the page's cookie", sha256).hexdigest()


def _name_owner(token: str) -> str:
    return hmac.new(token.encode(), b"the owner's name", sha256).hexdigest()[:16]


def _read_cookie(header: str) -> str | None:
    jar = SimpleCookie()
    try:
        jar.load(header)
    except CookieError:
        return None
    return jar[COOKIE].value if COOKIE in jar else None


def _name_host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
