"""How far the picture and the sound of a fragmented mp4 reach, read from its time stamps alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from echoexport.runtime.serve.broadcast.boxes import iterate_boxes

_HEAD = 8
_VIDEO = b"vide"


@dataclass
class _Track:
    is_video: bool
    timescale: int
    end: float = 0.0
    samples: int = 0


class TrackEnds:
    """Takes fragments in their order; seconds are of the video's own time."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    @property
    def frames(self) -> int:
        """Pictures so far."""
        return sum(track.samples for track in self._tracks.values() if track.is_video)

    def take(self, fragment: bytes) -> bool:
        """One more; whether it brought a picture."""
        before = self.frames
        for kind, content in iterate_boxes(fragment):
            if kind == b"moov":
                self._read_tracks(content)
            elif kind == b"moof":
                for inner, traf in iterate_boxes(content):
                    if inner == b"traf":
                        self._read_run(dict(iterate_boxes(traf)))
        return self.frames > before

    def find_offset(self) -> float | None:
        """Seconds by which the sound reaches further than the picture; None before both began."""
        video = [track.end for track in self._tracks.values() if track.is_video and track.samples]
        sound = [t.end for t in self._tracks.values() if not t.is_video and t.samples]
        return sound[0] - video[0] if video and sound else None

    def _read_tracks(self, moov: bytes) -> None:
        for kind, trak in iterate_boxes(moov):
            if kind != b"trak":
                continue
            parts = dict(iterate_boxes(trak))
            media = dict(iterate_boxes(parts[b"mdia"]))
            wide = parts[b"tkhd"][0] == 1
            number = struct.unpack_from(">I", parts[b"tkhd"], 20 if wide else 12)[0]
            wide = media[b"mdhd"][0] == 1
            timescale = struct.unpack_from(">I", media[b"mdhd"], 20 if wide else 12)[0]
            self._tracks[number] = _Track(media[b"hdlr"][8:12] == _VIDEO, timescale)

    def _read_run(self, parts: dict[bytes, bytes]) -> None:
        head, run, begin = parts[b"tfhd"], parts[b"trun"], parts[b"tfdt"]
        track = self._tracks[struct.unpack_from(">I", head, 4)[0]]
        count = struct.unpack_from(">I", run, 4)[0]
        start = struct.unpack_from(">Q" if begin[0] == 1 else ">I", begin, 4)[0]
        track.end = (start + _sum_durations(head, run, count)) / track.timescale
        track.samples += count


def _sum_durations(head: bytes, run: bytes, count: int) -> int:
    """In the track's units; ISO/IEC 14496-12, 8.8.7 and 8.8.8."""
    options = struct.unpack_from(">I", run)[0]
    if options & 0x100:
        size = 4 * sum(bool(options & bit) for bit in (0x100, 0x200, 0x400, 0x800))
        place = _HEAD + 4 * bool(options & 0x1) + 4 * bool(options & 0x4)
        return sum(struct.unpack_from(">I", run, place + size * n)[0] for n in range(count))
    options = struct.unpack_from(">I", head)[0]
    if not options & 0x8:
        return 0
    place = _HEAD + 8 * bool(options & 0x1) + 4 * bool(options & 0x2)
    return int(count * struct.unpack_from(">I", head, place)[0])
