"""What the encoders of a session make, one packet at a time, for viewers without a container."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.live.frames import LiveFrame, count_frame_samples, find_first_sample

VIDEO = "video"
AUDIO = "audio"

_BIT_RATE = 64_000


@dataclass(frozen=True)
class MediaPacket:
    """A compressed picture or its sound, and its place on the session's one clock."""

    kind: str
    """``VIDEO``, H.264 in byte stream format, or ``AUDIO``, Opus."""
    data: bytes
    """Of a key frame with its parameter sets."""
    pts: int
    """When it is shown or heard, in units of ``time_base``."""
    time_base: Fraction
    """Seconds."""
    is_key: bool
    """Whether a viewer may begin with it."""


class OpusEncoder:
    """The sound of frames as Opus, a packet for each frame."""

    def __init__(self, *, rate: int, fps: Fraction) -> None:
        """``rate`` is one of Opus'; 1 / ``fps`` seconds one of its packets' lengths."""
        import av

        self._rate = rate
        self._fps = fps
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate = rate  # type: ignore[attr-defined,unused-ignore]
        self._codec.format = "flt"  # type: ignore[attr-defined,unused-ignore]
        self._codec.layout = "mono"  # type: ignore[attr-defined,unused-ignore]
        self._codec.bit_rate = _BIT_RATE
        self._codec.time_base = Fraction(1, rate)
        # One packet goes out with each picture: two would stand at two places of the sound's
        # clock and one of the picture's, and a receiver takes that for an offset.
        self._codec.options = {"frame_duration": f"{float(1000 / fps):g}", "application": "voip"}

    def encode(self, frame: LiveFrame) -> list[MediaPacket]:
        """Of a frame's samples, or of silence where it has none."""
        import av

        samples = frame.samples
        if not samples.size:
            due = count_frame_samples(frame.index, self._rate, self._fps)
            samples = np.zeros(due, np.float32)
        sound = av.AudioFrame.from_ndarray(_lay_out(samples), format="flt", layout="mono")
        sound.sample_rate = self._rate
        sound.pts = find_first_sample(frame.index, self._rate, self._fps)
        sound.time_base = Fraction(1, self._rate)
        packets = self._codec.encode(sound)  # type: ignore[attr-defined,unused-ignore]
        return [
            MediaPacket(AUDIO, bytes(packet), packet.pts, Fraction(1, self._rate), True)
            for packet in packets
            if packet.pts is not None
        ]


def _lay_out(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(samples[None], dtype=np.float32)
