"""A stream of fragmented mp4 cut at its boxes: its head, then one fragment after another."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from echoexport.runtime.errors import OutputError

_HEAD = 8
_VIDEO = 1  # the track that the sink adds first
_NOT_SYNC = 0x10000  # of a sample's flags, ISO/IEC 14496-12, 8.8.3.1
_MOST_BOX = 1 << 26


@dataclass(frozen=True)
class Fragment:
    """A piece that a player takes whole."""

    data: bytes
    """Boxes, none of them cut."""
    is_head: bool
    """Whether it is what every player needs first: ftyp and moov."""
    is_key: bool
    """Whether a player may begin with it."""


class FragmentCutter:
    """Takes bytes as a muxer writes them and gives fragments as they become whole."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._boxes: list[tuple[bytes, bytes]] = []

    def cut(self, data: bytes) -> list[Fragment]:
        """The fragments that these bytes complete.

        Raises:
            OutputError: they are no boxes.
        """
        self._rest += data
        found = []
        while (box := self._take_box()) is not None:
            self._boxes.append(box)
            if box[0] in (b"moov", b"mdat"):
                found.append(self._finish(is_head=box[0] == b"moov"))
        return found

    def _take_box(self) -> tuple[bytes, bytes] | None:
        if len(self._rest) < _HEAD:
            return None
        size, kind = struct.unpack_from(">I4s", self._rest)
        if not _HEAD <= size <= _MOST_BOX:
            raise OutputError(f"a box {kind!r} of {size} bytes in a live video: none is so large")
        if len(self._rest) < size:
            return None
        whole = bytes(self._rest[:size])
        del self._rest[:size]
        return kind, whole

    def _finish(self, *, is_head: bool) -> Fragment:
        data = b"".join(whole for _, whole in self._boxes)
        is_key = any(kind == b"moof" and _begins_with_key(whole) for kind, whole in self._boxes)
        self._boxes.clear()
        return Fragment(data, is_head=is_head, is_key=is_key)


def name_codecs(head: bytes) -> str:
    """The codecs of a head, as ``MediaSource`` wants them: ``avc1.42c00d, mp4a.40.2``.

    Raises:
        OutputError: there is no H.264 in it.
    """
    place = head.find(b"avcC")
    if place < 0 or len(head) < place + 8:
        raise OutputError("the head of a live video names no H.264")
    profile, compatible, level = head[place + 5 : place + 8]
    return f"avc1.{profile:02x}{compatible:02x}{level:02x}, mp4a.40.2"


def _begins_with_key(moof: bytes) -> bool:
    """Whether the first picture of a fragment needs no other."""
    for kind, traf in iterate_boxes(moof[_HEAD:]):
        if kind == b"traf":
            parts = dict(iterate_boxes(traf))
            flags = _find_first_flags(parts)
            if flags is not None:
                return not flags & _NOT_SYNC
    return False


def _find_first_flags(parts: dict[bytes, bytes]) -> int | None:
    """Of the first sample of the video; None where the track is another."""
    header = parts.get(b"tfhd", b"")
    run = parts.get(b"trun", b"")
    if len(header) < 8 or len(run) < 8:
        return None
    options, track = struct.unpack_from(">II", header)
    if track != _VIDEO:
        return None
    return _read_run_flags(run) or _read_default_flags(header, options & 0xFFFFFF)


def _read_run_flags(run: bytes) -> int | None:
    options = struct.unpack_from(">I", run)[0] & 0xFFFFFF
    place = 8 + 4 * bool(options & 0x1)
    if options & 0x4:
        return int(struct.unpack_from(">I", run, place)[0])
    if options & 0x400:
        before = 4 * bool(options & 0x100) + 4 * bool(options & 0x200)
        return int(struct.unpack_from(">I", run, place + before)[0])
    return None


def _read_default_flags(header: bytes, options: int) -> int:
    if not options & 0x20:
        return _NOT_SYNC
    before = 8 * bool(options & 0x1) + sum(4 for bit in (0x2, 0x8, 0x10) if options & bit)
    return int(struct.unpack_from(">I", header, 8 + before)[0])


def iterate_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and content of each box, one after another; what is cut at the end is left out."""
    place = 0
    while place + _HEAD <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size < _HEAD:
            return
        yield kind, data[place + _HEAD : place + size]
        place += size
