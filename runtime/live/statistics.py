"""What a live session did: counts that a report, a page or a fleet reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from echoexport.runtime.live.frames import IDLE, SPEAKING, LiveFrame

_KEPT = 100_000  # late frames whose delay is kept: more than an hour of nothing else


@dataclass
class LiveStatistics:
    """Counts since the session's beginning; read at any time."""

    frames: int = 0
    """Given."""
    speaking_frames: int = 0
    """With sound that somebody pushed and the face spoke."""
    idle_frames: int = 0
    """Of the loop."""
    late_frames: int = 0
    """That were made after they were due."""
    late: list[float] = field(default_factory=list)
    """Seconds of each of the late ones."""
    blocks: int = 0
    """Drawn."""
    denoiser_calls: int = 0
    """Without the unconditional halves."""
    interrupts: int = 0
    """Of the one who speaks."""
    first_heard: float | None = None
    """When the first sound came, on the session's clock."""
    first_spoken: float | None = None
    """When the first drawn frame was given."""

    def hear(self, now: float) -> None:
        """Sound came."""
        if self.first_heard is None:
            self.first_heard = now

    def show(self, frame: LiveFrame, now: float) -> None:
        """A frame was given."""
        self.frames += 1
        self.speaking_frames += frame.state == SPEAKING
        self.idle_frames += frame.state == IDLE
        if frame.state != IDLE and self.first_spoken is None:
            self.first_spoken = now
        if frame.late > 0:
            self.late_frames += 1
            if len(self.late) < _KEPT:
                self.late.append(frame.late)

    @property
    def calls_per_frame(self) -> float:
        """Denoiser calls for each frame that was not of the loop."""
        return self.denoiser_calls / max(1, self.frames - self.idle_frames)
