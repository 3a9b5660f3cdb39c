"""A conversation: sound in as it comes, frames with their samples out, when they are due."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from types import TracebackType
from typing import TypeVar

from numpy.typing import ArrayLike

from echoexport.runtime.errors import AudioError, BackendError, SettingError
from echoexport.runtime.live.frames import LiveFrame
from echoexport.runtime.live.host import LiveHost, LivePortrait
from echoexport.runtime.live.playout import Playout
from echoexport.runtime.live.production import Production
from echoexport.runtime.live.scheduling.ladder import Rung
from echoexport.runtime.live.settings import LiveNumbers
from echoexport.runtime.live.slots import Slot
from echoexport.runtime.live.statistics import LiveStatistics

SessionT = TypeVar("SessionT", bound="LiveSession")


class LiveSession:
    """One face that listens and speaks; a context manager.

    Any thread may push, flush and interrupt while one iterates. In pace "real" the
    iteration gives a frame whenever one is due and never ends by itself; in pace "fast"
    it gives each as soon as it is made. Either ends once :meth:`finish` was called and
    the face has come to rest, or when the session is closed.
    """

    def __init__(self, host: LiveHost, portrait: LivePortrait, numbers: LiveNumbers) -> None:
        """Raises ``CapacityError`` where the host has no room."""
        self.numbers = numbers
        self.statistics = LiveStatistics()
        self._host = host
        self._clock = host.clock
        self._changed = threading.Condition(threading.RLock())
        self._production = Production(
            host, portrait, numbers, statistics=self.statistics, changed=self._changed
        )
        self._playout = Playout(self._production, fps=numbers.fps, pace=numbers.pace)
        self._production.find_due = lambda place: self._playout.find_due(
            place, now=self._clock.now()
        )
        self._production.on_failure = self.fail
        self._index = 0
        self._finished = False
        self._closed = False
        self._failure: BaseException | None = None
        host.admit(self, numbers)

    def __enter__(self: SessionT) -> SessionT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pending(self) -> float:
        """Seconds of sound that wait to be spoken."""
        with self._changed:
            return self._production.script.pending

    @property
    def busy(self) -> bool:
        """Whether it is spoken to just now, or eases to rest."""
        # Without the lock: workers ask, for whom this session may wait.
        return self._production.busy

    @property
    def steps_down(self) -> int:
        """How often the device fell behind so far that the session did with less."""
        return self._production.ladder.steps_down

    @property
    def rung(self) -> Rung:
        """How frames are drawn now."""
        return self._production.ladder.rung

    @property
    def rungs_down(self) -> int:
        """How many rungs that is below the best."""
        return self._production.ladder.place

    def measure_share(self) -> float:
        """The share of the workers' time that this session takes while it speaks."""
        return self._host.measure_share(self.numbers)

    def count_capacity(self) -> int:
        """How many sessions like this one the host would let in, by what they have cost."""
        return self._host.count_capacity(self.numbers)

    def push(self, pcm: bytes | ArrayLike, sample_rate: int) -> None:
        """Say this: the next chunk of a voice, of any length and rate.

        Bytes are signed 16-bit little-endian of one channel; an array is (n,) or
        (n, channels), int16 or floating point in [-1, 1].

        Raises:
            AudioError: it is no sound, holds NaN, or more than ``most_pending`` seconds
                wait already. SettingError: no such rate, or a session that is over. The
                session goes on as if it had not come.
        """
        with self._changed:
            self._require_open()
            script = self._production.script
            if script.pending > self.numbers.most_pending:
                raise AudioError(
                    f"{script.pending:.0f} s of sound wait to be spoken; at most "
                    f"{self.numbers.most_pending:g} may. Push no faster than frames are taken"
                )
            script.hear(pcm, sample_rate)
            self.statistics.hear(self._clock.now())
            self._go_on()

    def flush(self) -> None:
        """The utterance ends here; its last frame will have ``end_of_utterance`` set."""
        with self._changed:
            self._require_open()
            self._production.script.flush()
            self._go_on()

    def finish(self) -> None:
        """Flush, and push nothing more: the iteration ends once the face is at rest."""
        with self._changed:
            if not self._closed:
                self._production.script.flush()
                self._finished = True
                self._go_on()

    def interrupt(self) -> None:
        """Stop speaking: drop what waits and what is being drawn, and come to rest.

        Frames that come after this are of a new epoch and without the old sound. What was
        ready fades into the idle loop within 160 ms, so that nothing jumps.
        """
        with self._changed:
            self._require_open()
            self._production.interrupt()
            self.statistics.interrupts += 1
            self._go_on()

    def reset(self) -> None:
        """Forget everything but the portrait; the next frame is one of rest."""
        with self._changed:
            self._require_open()
            self._production.reset()
            self._go_on()

    def show(self, portrait: LivePortrait) -> None:
        """Another face from the next frame on that is not planned yet."""
        with self._changed:
            self._require_open()
            self._production.show(portrait)
            self._go_on()

    def fail(self, error: BaseException) -> None:
        """End the session with an error, raised where it is iterated; others go on.

        Its share of the workers is free for another from now on.
        """
        with self._changed:
            self._failure = self._failure or error
            self._production.reset()
            self._changed.notify_all()
        self._host.leave(self)

    def close(self) -> None:
        """End; the iteration ends too, in whatever thread."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._production.reset()
            self._changed.notify_all()
        self._host.leave(self)

    def __iter__(self) -> Iterator[LiveFrame]:
        while (frame := self.next_frame()) is not None:
            yield frame

    async def __aiter__(self) -> AsyncIterator[LiveFrame]:
        # The one place below "serve" that knows of it: only who iterates so has a loop.
        import asyncio

        while (frame := await asyncio.to_thread(self.next_frame)) is not None:
            yield frame

    def next_frame(self) -> LiveFrame | None:
        """The next frame, once it is due; None once the session is over.

        Raises:
            BackendError: an engine failed; the session is over.
        """
        with self._changed:
            while not self._is_over():
                wait = self.due_in()
                if wait is not None and wait <= 0:
                    return self._take()
                # Nobody tells of an engine that hangs.
                patience = self.numbers.patience
                self._clock.wait(self._changed, patience if wait is None else min(wait, patience))
        return None

    def due_in(self) -> float | None:
        """Seconds until :meth:`next_frame` gives a frame at once, 0 where it does.

        None where that waits for something else than the time, or the session is over.
        For who has a loop of his own.

        Raises:
            BackendError: an engine failed; the session is over.
        """
        with self._changed:
            self._look_for_hung()
            if self._failure is not None:
                raise self._failure
            if self._is_over():
                return None
            self._production.plan()
            wait = self._playout.find_wait(self._clock.now())
            return None if wait is None else max(0.0, wait)

    def _look_for_hung(self) -> None:
        if self._failure is not None:
            return
        work = self._production.find_hung(self._clock.now(), patience=self.numbers.patience)
        if work is not None:
            error = BackendError(
                f"{work}: the engine has given no answer for {self.numbers.patience:g} s; the "
                "session ends, and the next one opens its networks anew"
            )
            self._host.give_up(error)
            self.fail(error)

    def _is_over(self) -> bool:
        if self._closed:
            return True
        return self._failure is None and self._finished and self._production.over

    def _take(self) -> LiveFrame:
        now = self._clock.now()
        return self._tell(*self._playout.take(now), now=now)

    def _go_on(self) -> None:
        self._production.plan()
        self._changed.notify_all()

    def _require_open(self) -> None:
        if self._closed:
            raise SettingError("this live session is closed")
        if self._failure is not None:
            raise SettingError(f"this live session has ended: {self._failure}")
        if self._finished:
            raise SettingError("this live session was told that nothing more comes")

    def _tell(self, slot: Slot, late: float, *, now: float) -> LiveFrame:
        assert slot.picture is not None  # only such are taken
        frame = LiveFrame(
            picture=slot.picture,
            samples=slot.cue.samples,
            sample_rate=self.numbers.hearing.sample_rate,
            index=self._index,
            timestamp=Fraction(self._index) / self.numbers.fps,
            epoch=slot.epoch,
            state=slot.cue.state,
            end_of_utterance=slot.cue.end_of_utterance,
            steps=slot.steps,
            late=late,
        )
        self._index += 1
        self.statistics.show(frame, now)
        return frame
