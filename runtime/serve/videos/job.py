"""A job for one video: what is asked for, how far it is, and what came of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.inputs.sound.stored import StoredSound
from echoexport.runtime.serve.limits.memory import HeldBytes
from echoexport.runtime.serve.refusals import Refusal

# The states' names are those of the OpenAI videos interface.
QUEUED = "queued"
RUNNING = "in_progress"
DONE = "completed"
FAILED = "failed"

_SAMPLED = 0.9  # of a job's work, once every window has run


@dataclass(frozen=True)
class VideoOrder:
    """What a client asks for."""

    owner: str
    """See :class:`~echoexport.runtime.serve.access.Visitor`."""
    portrait: Path | StoredPicture
    voice: StoredSound
    seconds: float
    """Of the voice."""


class VideoJob:
    """One order from its coming to its end; any thread may ask."""

    def __init__(self, name: str, order: VideoOrder, *, held: HeldBytes) -> None:
        """``held`` is what its uploads take, until it is over."""
        self.name = name
        self.owner = order.owner
        self.order: VideoOrder | None = order
        """None once it is over: nothing of an upload is kept longer."""
        self.seconds = order.seconds
        self.created = time.time()
        self.waits_since = time.monotonic()
        self.state = QUEUED
        self.output: Path | None = None
        """Of a job that is done."""
        self.size = 0
        """Bytes of it."""
        self.ended = 0.0
        """On the monotonic clock, once it is over."""
        self.gone = threading.Event()
        """Set once its owner wants it no more, or the server stops."""
        self.version = 0
        """Grows whenever :meth:`describe` says something else."""
        self._held = held
        self._progress = 0.0
        self._refusal: Refusal | None = None
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether nothing more will change."""
        return self.state in (DONE, FAILED)

    def begin(self) -> None:
        """It is being rendered."""
        self._change(RUNNING)

    def tell(self, phase: str, done: int, total: int) -> None:
        """As :data:`~echoexport.runtime.progress.Progress`; it never goes back."""
        share = done / total if total else 0.0
        progress = _SAMPLED * share if phase == "sampling" else _SAMPLED + (1 - _SAMPLED) * share
        with self._lock:
            if int(100 * progress) > int(100 * self._progress):
                self.version += 1
            self._progress = max(self._progress, progress)

    def finish(self, output: Path) -> None:
        """The video is there. Raises ``RefusedError`` where there is no memory for it."""
        size = output.stat().st_size
        self._held.give_back()
        self._held.grow(size)
        self.order = None
        self.output = output
        self.size = size
        self._progress = 1.0
        self._change(DONE)

    def fail(self, refusal: Refusal) -> None:
        """There will be no video."""
        self._held.give_back()
        self.order = None
        self._refusal = refusal
        self._change(FAILED)

    def drop(self) -> None:
        """Let go of all that it holds: its video, its uploads."""
        self.gone.set()
        self.order = None
        self._held.give_back()
        if self.output is not None:
            self.output.unlink(missing_ok=True)

    def describe(self) -> dict[str, Any]:
        """What a client is told of it."""
        with self._lock:
            told: dict[str, Any] = {
                "id": self.name,
                "object": "video",
                "status": self.state,
                "progress": int(100 * self._progress),
                "seconds": round(self.seconds, 3),
                "created_at": int(self.created),
            }
            if self._refusal is not None:
                told["error"] = self._refusal.describe()
            if self.state == DONE:
                told["bytes"] = self.size
            return told

    def _change(self, state: str) -> None:
        # Readers take no lock: who sees the state sees what belongs to it.
        with self._lock:
            if state in (DONE, FAILED):
                self.ended = time.monotonic()
            self.version += 1
            self.state = state
