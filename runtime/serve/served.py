"""A session as the server holds it: one conversation, one encoder, any number of viewers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from echoexport.runtime.errors import BackendError, EchoExportError
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING, LiveFrame
from echoexport.runtime.live.opening import Conversation, FaceChoice
from echoexport.runtime.serve.broadcast.boxes import Fragment, name_codecs
from echoexport.runtime.serve.broadcast.encoder import LiveEncoder
from echoexport.runtime.serve.broadcast.viewers import Audience, ServeEvent
from echoexport.runtime.serve.figures import ServeFigures
from echoexport.runtime.serve.limits.memory import SOUND_BYTES
from echoexport.runtime.serve.log import ServeLog, shorten
from echoexport.runtime.serve.refusals import Refusal, RefusedError, explain_error, refuse
from echoexport.runtime.serve.voice.command import VoiceCommand
from echoexport.runtime.serve.voice.text_speaker import TextSpeaker

_PATIENCE = 10.0  # seconds for the first fragment
_TOLD_LATE = 1.0  # seconds between two events of late frames


@dataclass(frozen=True)
class SessionIdentity:
    """Which session it is, and whose."""

    name: str
    """The id: whoever has it and the owner's token may use the session."""
    owner: str
    """See :class:`~echoexport.runtime.serve.access.Visitor`."""
    portrait: str
    """Of what it shows, as the client named it."""


class ServedSession:
    """Runs a conversation in a thread of its own until it is closed."""

    def __init__(
        self,
        identity: SessionIdentity,
        talk: Conversation,
        audience: Audience,
        *,
        size: tuple[int, int],
        log: ServeLog,
        figures: ServeFigures,
        voice: VoiceCommand | None = None,
    ) -> None:
        self.identity = identity
        self.audience = audience
        self.codecs = ""
        self.rate = 24_000
        """Of the sound that is pushed, in Hz."""
        self.on_end: Callable[[ServedSession], None] = lambda session: None
        self.before_push: Callable[[float], None] = lambda size: None
        """Told how many bytes a sound will take; raises where there is no room for it."""
        self._talk = talk
        self._size = size
        self._log = log
        self._figures = figures
        self._turn = _Turn()
        self.speaker = TextSpeaker(talk, voice, heard=self._hear, tell=audience.tell, log=log)
        """All of its sound, and what speaks texts."""
        self._ready = threading.Event()
        self._given: float | None = None  # when its last frame was
        self._end: Refusal | None = None  # what is answered from its end on
        self._over = False
        self._heard = monotonic()
        self._lock = threading.Lock()
        self._rung = self._describe_rung()
        self._thread = threading.Thread(target=self._run, name="echoexport-served", daemon=True)

    @property
    def idle_for(self) -> float:
        """Seconds since anybody spoke to it or watched it."""
        if len(self.audience):
            self._heard = monotonic()
        return monotonic() - self._heard

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over

    @property
    def pending(self) -> float:
        """Seconds of sound that wait to be spoken."""
        return self._talk.pending

    @property
    def steps_down(self) -> int:
        """How often it did with less, as the device was too slow."""
        return self._talk.steps_down

    @property
    def rungs_down(self) -> int:
        """How many rungs below its best it draws."""
        return self._talk.rungs_down

    def start(self) -> None:
        """Begin; returns once its video has a head.

        Raises:
            BackendError: it has none in time.
        """
        self._thread.start()
        if not self._ready.wait(_PATIENCE) or not self.codecs:
            self.close("it did not begin")
            raise BackendError("the session gave no video; the server's log says why")

    def describe(self) -> ServeEvent:
        """What a client is told of it."""
        width, height = self._size
        return {
            "id": self.identity.name,
            "object": "realtime.session",
            "portrait": self.identity.portrait,
            "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": self.rate}},
                "output": {"voice": self.speaker.voice},
            },
            "video": {
                "mime": f'video/mp4; codecs="{self.codecs}"',
                "width": width,
                "height": height,
                "fps": float(self._talk.numbers.fps),
                "ladder": self._describe_rung(),
            },
        }

    def push(self, pcm: bytes, rate: int) -> None:
        """Say this. Raises as :meth:`LiveSession.push` and ``before_push`` do.

        As every request does, it raises RefusedError with the reason once the session ends.
        """
        with self._until_end():
            self.before_push(len(pcm) / 2 / rate * SOUND_BYTES)
            self.speaker.push(pcm, rate)

    def flush(self) -> None:
        """The utterance ends here."""
        with self._until_end():
            self.speaker.flush()

    def say(self, text: str) -> str:
        """Speak a text; the id of its response. Raises as :meth:`TextSpeaker.say` does."""
        with self._until_end():
            return self.speaker.say(text)

    def draft(self, text: str) -> None:
        """Keep a text. Raises as :meth:`TextSpeaker.draft` does."""
        with self._until_end():
            self.speaker.draft(text)

    def say_drafts(self) -> str:
        """Speak what was kept. Raises as :meth:`TextSpeaker.say_drafts` does."""
        with self._until_end():
            return self.speaker.say_drafts()

    def interrupt(self) -> None:
        """Stop speaking."""
        with self._until_end():
            self.speaker.interrupt()
            self._turn.forget()

    def show(self, picture: Path | StoredPicture, name: str, *, face: FaceChoice | None) -> None:
        """Another face as soon as it is ready. Raises as :meth:`Conversation.portrait` does."""
        with self._until_end():
            self._talk.portrait(picture, face=face)
            self.identity = SessionIdentity(self.identity.name, self.identity.owner, name)

    def tell(self, kind: str, **facts: object) -> None:
        """Tell everybody who is connected that something happened."""
        self.audience.tell({"type": kind, **facts})

    def close(self, reason: str | Refusal) -> None:
        """End it and tell why; returns when its thread is over, unless it is that thread.

        What is asked of it meanwhile is refused with the same words; a reason that is a text
        goes with 404, as the session is found no more a moment later.
        """
        end = reason if isinstance(reason, Refusal) else refuse(404, reason)
        with self._lock:
            self._end = self._end or end
        self.speaker.close()
        self._talk.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=_PATIENCE)

    @contextmanager
    def _until_end(self) -> Iterator[None]:
        """Do what a client asks for, or refuse it with what ended the session.

        Both ask the same thing: whether it is over already, and whether what went wrong did so
        because it ended on the way.
        """
        try:
            self._require_open()
            yield
        except (EchoExportError, RefusedError):
            self._require_open()
            raise

    def _require_open(self) -> None:
        if self._end is not None:
            raise RefusedError(self._end)

    def _run(self) -> None:
        try:
            fps = self._talk.numbers.fps
            with LiveEncoder(
                size=self._size, fps=fps, give=self._show, audience=self.audience
            ) as encoder:
                for frame in self._talk:
                    encoder.write(frame)
                    self._note(frame)
        except EchoExportError as error:
            self._fail(error)
        except Exception as error:
            self._log.fail("session failed", error, session=shorten(self.identity.name))
            self._fail(error)
        finally:
            self._finish()

    def _show(self, fragment: Fragment) -> None:
        if fragment.is_head:
            self.codecs = name_codecs(fragment.data)
            self._ready.set()
        self.audience.show(fragment)

    def _hear(self) -> None:
        self._heard = monotonic()
        self._turn.hear(self._heard)

    def _note(self, frame: LiveFrame) -> None:
        """Tell what this frame is the first of, and count it."""
        now = monotonic()
        self._figures.count_frame(late=frame.late)
        if self._given is not None:
            self._figures.count_interval(now - self._given)
        self._given = now
        for kind, facts in self._turn.look_at(frame, now):
            if kind == "output_video.first_frame":
                self._figures.count_first_frame(float(facts["after_ms"]) / 1000)
            self.tell(kind, **facts)
        for event in self.speaker.look_at(frame):
            self.audience.tell(event)
        rung = self._describe_rung()
        if rung != self._rung:
            self._figures.count_rung(down=rung["below_best"] > self._rung["below_best"])
            self._rung = rung
            self.tell("output_video.ladder", time=float(frame.timestamp), **rung)

    def _describe_rung(self) -> dict[str, int]:
        """How the session draws: how far below its best, and what that is."""
        rung = self._talk.rung
        return {"below_best": self._talk.rungs_down, "steps": rung.steps, "every": rung.every}

    def _fail(self, error: Exception) -> None:
        refusal = explain_error(error)
        with self._lock:
            ending = self._end is not None
            self._end = self._end or refusal
        if not ending:  # else what ended it is what matters
            self.tell("error", error=refusal.describe())
        self._log.tell(
            "session ended with an error",
            session=shorten(self.identity.name),
            reason=refusal.message,
        )

    def _finish(self) -> None:
        with self._lock:
            self._end = self._end or refuse(404, "it came to its end")
        reason = self._end.message
        self.speaker.close()  # so that what waits to be said is told to be over
        self.audience.end(reason, last={"type": "session.closed", "reason": reason})
        self._ready.set()
        self._talk.close()
        self._over = True
        self._figures.count_cut(self.audience.cut)
        self.on_end(self)


class _Turn:
    """From frames to the events of a turn: spoken to, speaking, at rest again."""

    def __init__(self) -> None:
        self._pushed: float | None = None
        self._state = IDLE
        self._epoch = 0
        self._late = 0
        self._worst = 0.0
        self._told_late = 0.0

    def hear(self, now: float) -> None:
        """Sound was pushed."""
        if self._pushed is None and self._state != SPEAKING:
            self._pushed = now

    def forget(self) -> None:
        """What was pushed will not be spoken."""
        self._pushed = None

    def look_at(self, frame: LiveFrame, now: float) -> list[tuple[str, dict[str, float]]]:
        """What begins with this frame, each with the place in the video."""
        found: list[tuple[str, dict[str, float]]] = []
        place = {"time": float(frame.timestamp)}
        if frame.epoch != self._epoch:
            self._epoch = frame.epoch
            self._state = EASING  # so that what it comes to next is told, whatever it was before
            found.append(("output_video.interrupted", place))
        if frame.state == SPEAKING and self._pushed is not None:
            after = round(1000 * (now - self._pushed), 1)
            self._pushed = None
            found.append(("output_video.first_frame", {**place, "after_ms": after}))
        if frame.state != self._state and frame.state in (IDLE, SPEAKING):
            self._state = frame.state
            found.append((f"output_video.{frame.state}", place))
        return [*found, *self._look_at_lateness(frame, now)]

    def _look_at_lateness(self, frame: LiveFrame, now: float) -> list[tuple[str, dict[str, float]]]:
        if frame.late > 0:
            self._late += 1
            self._worst = max(self._worst, frame.late)
        if not self._late or now - self._told_late < _TOLD_LATE:
            return []
        told = {"frames": self._late, "worst_ms": round(1000 * self._worst, 1)}
        self._told_late = now
        self._late = 0
        self._worst = 0.0
        return [("output_video.late", told)]
