"""A voice played through a live session as if somebody spoke it, and what that measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.inputs.voice import SAMPLE_RATE
from echoexport.runtime.live.frames import IDLE, LiveFrame
from echoexport.runtime.live.scheduling.clock import LiveClock
from echoexport.runtime.live.session import LiveSession

CHUNK = 0.02  # seconds, as a telephone or a browser sends them


class PairSink(Protocol):
    """Takes frames with their samples."""

    def write(self, frame: NDArray[np.uint8], samples: NDArray[np.float32]) -> None:
        """Append one frame (H, W, 3) and its samples (n,)."""
        ...


@dataclass
class PlayLog:
    """When sound went in and frames came out, in seconds of the session's clock."""

    begun: float | None = None
    """When the first chunk was pushed."""
    pushed: int = 0
    """Samples at 16 kHz so far."""
    delays: list[float] = field(default_factory=list)
    """Of each frame with sound: from when its first sample was pushed until it was given."""
    first_frame: float | None = None
    """From the first chunk to the first frame that was drawn for it."""
    resident: list[int] = field(default_factory=list)
    """Bytes of the process, once a second."""
    _arrivals: list[tuple[int, float]] = field(default_factory=list, repr=False)
    _heard: int = field(default=0, repr=False)

    def push(self, count: int, now: float) -> None:
        """A chunk of so many samples went in."""
        self.begun = now if self.begun is None else self.begun
        self._arrivals.append((self.pushed, now))
        self.pushed += count

    def show(self, frame: LiveFrame, now: float) -> None:
        """A frame came out."""
        if frame.state != IDLE and self.first_frame is None and self.begun is not None:
            self.first_frame = now - self.begun
        if frame.samples.size:
            self.delays.append(now - self._find_arrival(self._heard))
            self._heard += round(frame.samples.size * SAMPLE_RATE / frame.sample_rate)

    def _find_arrival(self, sample: int) -> float:
        """When a sample was pushed; earlier ones are asked for no more."""
        while len(self._arrivals) > 1 and self._arrivals[1][0] <= sample:
            self._arrivals.pop(0)
        return self._arrivals[0][1]


def play(
    talk: LiveSession,
    chunks: Iterator[NDArray[np.float32]],
    sink: PairSink,
    *,
    clock: LiveClock,
    paced: bool,
    tell: Callable[[int], None] = lambda frames: None,
) -> PlayLog:
    """Push chunks at 16 kHz into a session and its frames into a sink, until both are over.

    ``paced``: each chunk when it would have been spoken; else as fast as the session
    takes them, or as they come. ``tell`` is told how many frames were given.

    Raises:
        What the chunks, the session and the sink raise.
    """
    log = PlayLog()
    speaker = _Speaker(talk, chunks, log, clock=clock, paced=paced)
    speaker.start()
    next_look = clock.now()
    try:
        for count, frame in enumerate(talk, start=1):
            log.show(frame, clock.now())
            sink.write(frame.picture, frame.samples)
            tell(count)
            if clock.now() >= next_look:
                log.resident.append(measure_resident())
                next_look += 1.0
    finally:
        speaker.stop()
    if speaker.error is not None:
        raise speaker.error
    return log


class _Speaker:
    """Pushes in a thread of its own, as somebody who speaks does not wait for frames."""

    def __init__(
        self,
        talk: LiveSession,
        chunks: Iterator[NDArray[np.float32]],
        log: PlayLog,
        *,
        clock: LiveClock,
        paced: bool,
    ) -> None:
        self.error: BaseException | None = None
        self._talk = talk
        self._chunks = chunks
        self._log = log
        self._clock = clock
        self._paced = paced
        self._over = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="echoexport-speaker", daemon=True)

    def start(self) -> None:
        """Begin to speak."""
        self._thread.start()

    def stop(self) -> None:
        """Say no more; a read from a pipe that hangs is left to itself."""
        with self._over:
            self._stopped = True
            self._over.notify_all()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        try:
            begun = self._clock.now()
            for chunk in self._chunks:
                spoken = self._log.pushed / SAMPLE_RATE
                if not self._wait_until(begun + spoken + chunk.size / SAMPLE_RATE):
                    return
                self._log.push(chunk.size, self._clock.now())
                self._talk.push(chunk, SAMPLE_RATE)
        except BaseException as error:
            self.error = error
        finally:
            self._talk.finish()

    def _wait_until(self, moment: float) -> bool:
        """Whether it has come, and nobody said to stop."""
        with self._over:
            while not self._stopped and self._is_early(moment):
                left = moment - self._clock.now() if self._paced else 0.05
                self._clock.wait(self._over, left)
            return not self._stopped

    def _is_early(self, moment: float) -> bool:
        if self._paced:
            return self._clock.now() < moment
        return self._talk.pending > self._talk.numbers.most_pending / 2


def cut_chunks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """A voice at 16 kHz in chunks of 20 ms."""
    size = round(CHUNK * SAMPLE_RATE)
    for start in range(0, samples.size, size):
        yield samples[start : start + size]


def read_pcm(stream: BinaryIO) -> Iterator[NDArray[np.float32]]:
    """Chunks of a pipe, raw signed 16-bit little-endian at 16 kHz, as they come."""
    size = 2 * round(CHUNK * SAMPLE_RATE)
    rest = b""
    read = getattr(stream, "read1", stream.read)
    while chunk := read(size):
        whole = rest + chunk
        rest = whole[len(whole) & ~1 :]
        yield np.frombuffer(whole[: len(whole) & ~1], "<i2").astype(np.float32) / np.float32(32768)


def measure_resident() -> int:
    """Bytes of memory that this process has, 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    import resource

    return pages * resource.getpagesize()
