"""All sessions of a server: who may begin one, who may use it, and when it ends by itself."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.errors import CapacityError, EchoExportError
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.live.opening import Conversation, FaceChoice, find_host, open_live
from echoexport.runtime.live.settings import LiveSettings
from echoexport.runtime.serve.broadcast.encoder import SOUND_RATE
from echoexport.runtime.serve.broadcast.viewers import Audience
from echoexport.runtime.serve.figures import ServeFigures
from echoexport.runtime.serve.limits.memory import SOUND_BYTES
from echoexport.runtime.serve.log import ServeLog, shorten
from echoexport.runtime.serve.portraits import PortraitShelf
from echoexport.runtime.serve.refusals import STOPPING, RefusedError, refuse
from echoexport.runtime.serve.served import ServedSession, SessionIdentity
from echoexport.runtime.serve.settings import ServeSettings
from echoexport.runtime.serve.voice.command import VoiceCommand
from echoexport.runtime.trace.call_tracer import CallTracer

SERVED_FPS = 25
_PARTS_PER_FRAME = 4  # fragments of picture and of sound, and events
_LAST_WORDS = 2.0  # seconds in which they reach who watches when the server stops
_LOOK = 0.01


class SessionTable:
    """Opens, finds and ends sessions; any thread may call."""

    def __init__(
        self,
        bundle: Bundle,
        shelf: PortraitShelf,
        settings: ServeSettings,
        *,
        cache: ReferenceCache | None,
        face: FaceChoice | None,
        log: ServeLog,
        figures: ServeFigures,
    ) -> None:
        self.shelf = shelf
        self.figures = figures
        self.budget = shelf.budget
        """Of all that is kept of what users send, and is made of it."""
        self.bundle = bundle
        self._settings = settings
        self.cache = cache
        self._face = face
        self._log = log
        self._sessions: dict[str, ServedSession] = {}
        self._opening: list[str] = []
        self.voice: VoiceCommand | None = None
        """What speaks texts, for sessions that begin from now on."""
        self._stopped = False
        self._warm = False
        self._lock = threading.RLock()
        figures.watch("sessions", "Sessions that are open.", lambda: float(len(self)))
        figures.watch("viewers", "Who watches.", lambda: float(sum(map(_count, self._list()))))
        figures.watch("pending_seconds", "Sound that waits, of the most burdened.", self._pend)
        figures.watch("steps_down", "Ladder steps of the open sessions.", self._count_steps)
        figures.watch("load", "Share of the workers that is taken.", find_host(bundle).load)
        figures.watch("queue_age_seconds", "How long the oldest block has waited.", self._find_age)
        figures.watch(
            "ladder_rung", "Rungs below its best, of the lowest session.", self._find_rung
        )
        self._calls = CallTracer(figures.count_call)
        figures.watch("held_bytes", "Uploads, videos and sound that waits.", self._measure_held)
        self.budget.watch(self._measure_sound)

    def __len__(self) -> int:
        with self._lock:
            return len(self._sessions) + len(self._opening)

    @property
    def warm(self) -> bool:
        """Whether a session can begin at once."""
        return self._warm and not self._stopped

    def warm_up(self) -> None:
        """Open the engines, draw each portrait's idle loop, measure what drawing costs.

        Raises:
            As :func:`open_live` does.
        """
        for name in self.shelf.names:
            with self._converse(self.shelf.find(name, "")) as talk:
                talk.next_frame()
        self._warm = True

    def open(self, owner: str, portrait: str | None) -> ServedSession:
        """Begin a session; takes as long as its portrait takes to be made ready.

        Raises:
            CapacityError: there is no room, on the device or for this owner.
            RefusedError: no such portrait, or the server stops.
            As :func:`open_live` does.
        """
        picture = self.shelf.find(portrait, owner)
        shown = portrait or next(iter(self.shelf.names), "")
        identity = SessionIdentity(secrets.token_urlsafe(24), owner, shown)
        try:
            self._reserve(owner)
            session = self._begin(identity, picture)
        except CapacityError:
            self.figures.count_refused()
            raise
        except EchoExportError as error:
            if self._stopped:  # what it was opened with goes away
                raise RefusedError(STOPPING) from error
            raise
        self.figures.count_session()
        self._log.tell("session began", session=shorten(identity.name), sessions=len(self))
        return session

    def find(self, name: str, owner: str) -> ServedSession:
        """A session of this owner.

        Raises:
            RefusedError: there is none; another's is none either. Or the server stops.
        """
        if self._stopped:
            raise RefusedError(STOPPING)
        with self._lock:
            session = self._sessions.get(name)
        if session is None or session.identity.owner != owner:
            raise RefusedError(refuse(404, "no such session"))
        return session

    def list_own(self, owner: str) -> list[ServedSession]:
        """The sessions of an owner."""
        return [session for session in self._list() if session.identity.owner == owner]

    def choose_face(self, picture: Path | StoredPicture) -> FaceChoice | None:
        """Where a portrait's face is; a box is for the server's own, an upload's is looked for."""
        if self._face is None or isinstance(picture, Path):
            return self._face
        return FaceChoice(model=self._face.model, poses=self._face.poses)

    def end_idle(self) -> None:
        """End those that nobody has spoken to or watched for long."""
        for session in self._list():
            if session.idle_for > self._settings.idle:
                session.close(f"nobody spoke to it or watched it for {self._settings.idle:g} s")

    def stop(self) -> None:
        """End all of them, and let no other begin; returns once whoever watches knows why."""
        self._stopped = True
        ended = self._list()
        for session in ended:
            session.close(STOPPING)
        until = time.monotonic() + _LAST_WORDS
        while any(map(_count, ended)) and time.monotonic() < until:
            time.sleep(_LOOK)

    def _begin(self, identity: SessionIdentity, picture: Path | StoredPicture) -> ServedSession:
        """Take the place that was reserved, or give it back."""
        session: ServedSession | None = None
        try:
            session = self._make(identity, picture)
        finally:
            with self._lock:
                self._opening.remove(identity.owner)
                if session is not None:
                    self._sessions[identity.name] = session
        if session.over:  # already; then nobody else takes it off
            self._drop(session)
        if self._stopped:
            session.close(STOPPING)
        return session

    def _make(self, identity: SessionIdentity, picture: Path | StoredPicture) -> ServedSession:
        manifest = self.bundle.manifest
        talk = self._converse(picture)
        most = round(self._settings.queue * SERVED_FPS * _PARTS_PER_FRAME)
        session = ServedSession(
            identity,
            talk,
            Audience(most_viewers=self._settings.viewers, most_waiting=most),
            size=(manifest.picture.width, manifest.picture.height),
            log=self._log,
            figures=self.figures,
            voice=self.voice,
        )
        session.on_end = self._drop
        session.before_push = self.budget.require
        session.start()
        return session

    def _converse(self, picture: Path | StoredPicture) -> Conversation:
        wanted = LiveSettings(
            fps=SERVED_FPS, sample_rate=SOUND_RATE, most_pending=self._settings.most_sound
        )
        find_host(self.bundle).tracer = self._calls
        face = self.choose_face(picture)
        return open_live(self.bundle, picture, face=face, cache=self.cache, settings=wanted)

    def _reserve(self, owner: str) -> None:
        """Hold a place while a session is opened, so that two cannot take the last one."""
        with self._lock:
            self._require_room(owner)
            self._opening.append(owner)

    def _require_room(self, owner: str) -> None:
        if self._stopped:
            raise RefusedError(STOPPING)
        if not self._warm:
            raise RefusedError(refuse(503, "the server warms up"))
        most = self._settings.sessions
        if most is not None and len(self) >= most:
            raise CapacityError(f"{most} sessions are open, and no more may be (--sessions)")
        mine = len(self.list_own(owner)) + self._opening.count(owner)
        if mine >= self._settings.sessions_per_token:
            raise CapacityError(f"{mine} sessions of this token are open, and no more may be")

    def _drop(self, session: ServedSession) -> None:
        with self._lock:
            self._sessions.pop(session.identity.name, None)
        self._log.tell("session over", session=shorten(session.identity.name), sessions=len(self))

    def _list(self) -> list[ServedSession]:
        with self._lock:
            return list(self._sessions.values())

    def _pend(self) -> float:
        return max((session.pending for session in self._list()), default=0.0)

    def _find_age(self) -> float:
        return find_host(self.bundle).workers.find_oldest()

    def _find_rung(self) -> float:
        return float(max((session.rungs_down for session in self._list()), default=0))

    def _measure_sound(self) -> float:
        return SOUND_BYTES * sum(session.pending for session in self._list())

    def _measure_held(self) -> float:
        return float(self.budget.held)

    def _count_steps(self) -> float:
        return float(sum(session.steps_down for session in self._list()))


def _count(session: ServedSession) -> int:
    return len(session.audience)
