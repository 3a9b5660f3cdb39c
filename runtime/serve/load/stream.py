"""One client of a server: it speaks at a voice's own pace, watches, and notes what came when."""

from __future__ import annotations

import asyncio
import inspect
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from echoexport.runtime.errors import CapacityError, InputError, SettingError
from echoexport.runtime.live.playing import CHUNK
from echoexport.runtime.serve.load.track_ends import TrackEnds

VOICE_RATE = 16_000
_REST = 1.0  # seconds between two utterances
_LONGEST_REST = 10.0  # seconds until the face is at rest, after which it is spoken to all the same
_OPENING = 120.0  # seconds: a portrait may have to be made ready
_MOST_MESSAGE = 16 << 20


@dataclass(frozen=True)
class LoadTarget:
    """Where the crowd goes, and what it says."""

    url: str
    """Of the server, ``http`` or ``https``."""
    voice: bytes
    """Signed 16-bit little-endian PCM of one channel at ``VOICE_RATE``."""
    tokens: tuple[str, ...] = ()
    """Used in turns, so that no token has more sessions than it needs."""
    portrait: str | None = None
    """By name; None is the server's first."""
    context: ssl.SSLContext | None = None
    """For ``https``; None trusts whom the system trusts."""


@dataclass
class StreamLog:
    """What one client saw; seconds."""

    first_frames: list[float] = field(default_factory=list)
    """Of each utterance: from its first chunk to the fragment that first shows it."""
    frames: int = 0
    seconds: float = 0.0
    """From its first fragment to its last."""
    late_frames: int = 0
    worst_late: float = 0.0
    offsets: list[tuple[float, float]] = field(default_factory=list)
    """When, since the begin, and by how much the sound reached further than the picture."""
    error: str = ""
    """Why it ended early."""


class LoadStream:
    """A session of its own, from its opening to its end."""

    def __init__(self, target: LoadTarget, number: int) -> None:
        self.log = StreamLog()
        self._target = target
        self._number = number
        self._wire: Any = None
        self._ends = TrackEnds()
        self._rested = asyncio.Event()
        self._said: float | None = None  # when the utterance under way began
        self._announced = False
        self._begun: float | None = None
        self._counted = 0  # frames before what is measured

    async def open(self) -> None:
        """Begin a session.

        Raises:
            CapacityError: the server has no room for it; says its reason.
            InputError: it refuses for another reason, or is no server of ours.
            SettingError: it cannot be reached.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        try:
            self._wire = await connect(self._find_address(), **self._choose_options(connect))
            first = await asyncio.wait_for(self._wire.recv(), _OPENING)
        except InvalidStatus as error:
            body = (error.response.body or b"").decode("utf-8", "replace")
            raise InputError(
                f"{self._target.url}: answers {error.response.status_code}: {_find_message(body)}"
            ) from error
        except (OSError, WebSocketException, TimeoutError, asyncio.TimeoutError) as error:
            raise SettingError(
                f"{self._target.url}: cannot be reached ({error or type(error).__name__}); does "
                "echoexport serve run there?"
            ) from error
        try:
            told = _read_first(first, self._target.url)
        except BaseException:
            await self.close()
            raise
        if told["type"] == "error":
            await self.close()
            refusal = told["error"]
            kind = CapacityError if refusal["status"] in (429, 503) else InputError
            raise kind(refusal["message"])
        await self._tell(
            "session.update", session={"audio": {"input": {"format": {"rate": VOICE_RATE}}}}
        )

    async def run(self, until: float) -> None:
        """Speak and watch until that moment of the monotonic clock; raises nothing."""
        from websockets.exceptions import ConnectionClosed

        both = [asyncio.create_task(self._watch()), asyncio.create_task(self._speak())]
        try:
            done, _ = await asyncio.wait(
                both,
                timeout=max(0.0, until - monotonic()),
                return_when=asyncio.FIRST_EXCEPTION,
            )
            errors = [task.exception() for task in done]
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for error in errors:
            if isinstance(error, ConnectionClosed):
                reason = error.rcvd.reason if error.rcvd is not None else "the connection broke"
                self.log.error = self.log.error or reason or "the server closed it"
            elif error is not None:
                raise error

    def begin_anew(self) -> None:
        """Forget what was noted, but for an error: what is measured begins now."""
        self.log = StreamLog(error=self.log.error)
        self._counted = self._ends.frames
        self._said = self._begun = None
        self._announced = False

    async def close(self) -> None:
        """End the session."""
        if self._wire is not None:
            await self._wire.close()

    def _find_address(self) -> str:
        from urllib.parse import quote

        query = "" if self._target.portrait is None else f"?portrait={quote(self._target.portrait)}"
        return self._target.url.rstrip("/").replace("http", "ws", 1) + "/v1/realtime" + query

    def _choose_options(self, connect: Any) -> dict[str, Any]:
        tokens = self._target.tokens
        token = tokens[self._number % len(tokens)] if tokens else None
        options: dict[str, Any] = {
            "additional_headers": {} if token is None else {"authorization": f"Bearer {token}"},
            "open_timeout": _OPENING,
            "max_size": _MOST_MESSAGE,
            "max_queue": None,  # a queue that fills would hold back what is timed
            "compression": None,
        }
        if self._target.url.startswith("https"):
            options["ssl"] = self._target.context or ssl.create_default_context()
        if "proxy" in inspect.signature(connect.__init__).parameters:  # not before websockets 15
            options["proxy"] = None
        return options

    async def _tell(self, kind: str, **facts: Any) -> None:
        await self._wire.send(json.dumps({"type": kind, **facts}))

    async def _speak(self) -> None:
        """One utterance after another, each when the face has come to rest."""
        size = round(CHUNK * VOICE_RATE) * 2
        voice = self._target.voice
        await self._tell("response.cancel")  # what was begun before
        await asyncio.sleep(_REST * (1 + self._number % 8 / 8))  # not all of them at once
        while True:
            self._rested.clear()
            self._said = begun = monotonic()
            self._announced = False
            for number, start in enumerate(range(0, len(voice), size)):
                await asyncio.sleep(max(0.0, begun + number * CHUNK - monotonic()))
                await self._wire.send(voice[start : start + size])
            await self._tell("input_audio_buffer.commit")
            try:
                await asyncio.wait_for(self._rested.wait(), _LONGEST_REST)
            except (TimeoutError, asyncio.TimeoutError):
                continue
            await asyncio.sleep(_REST)

    async def _watch(self) -> None:
        while True:
            got = await self._wire.recv()
            if isinstance(got, bytes):
                self._see(got, monotonic())
            else:
                self._hear(json.loads(got))

    def _see(self, fragment: bytes, now: float) -> None:
        if not self._ends.take(fragment):
            return
        self._begun = now if self._begun is None else self._begun
        self.log.frames = self._ends.frames - self._counted
        self.log.seconds = now - self._begun
        offset = self._ends.find_offset()
        if offset is not None:
            self.log.offsets.append((self.log.seconds, offset))
        if self._announced and self._said is not None:
            self.log.first_frames.append(now - self._said)
            self._said = None

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "output_video.first_frame":
            self._announced = True  # the fragment of that frame is the next that comes
        elif kind == "output_video.idle":
            self._rested.set()
        elif kind == "output_video.late":
            self.log.late_frames += event["frames"]
            self.log.worst_late = max(self.log.worst_late, event["worst_ms"] / 1000)
        elif kind == "error":
            self.log.error = self.log.error or event["error"]["message"]
        elif kind == "session.closed":
            self.log.error = self.log.error or event["reason"]


def _read_first(message: str | bytes, url: str) -> dict[str, Any]:
    """What the server says first: that a session began, or why none did."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        told = json.loads(message)
        if told["type"] == "session.created":
            return dict(told)
        refusal = told["error"]
        if told["type"] == "error" and {"status", "message"} <= refusal.keys():
            return dict(told)
    raise InputError(
        f"{url}: what answers there is not echoexport serve; its first message is no event of one"
    )


def _find_message(body: str) -> str:
    """The server's own words, where it is one of ours."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body.split())[:200] or "no reason"
