"""Finds the recordings in a WAV file, whatever its header says of lengths.

A header that was written before the sound was there counts wrongly: too little where
more was appended, a placeholder where nobody knew. Sizes are bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from echoexport.runtime.errors import AudioError

__all__ = ["WavPart", "WavReader", "find_wav_parts"]

# A header may overstate the file by a padding byte or a trailing chunk; more than this
# is a cut file. As much behind the last chunk is no sound either.
_SLACK = 4096
# Written to a pipe, a header cannot know the length and says "as large as can be".
_UNKNOWN_FROM = 0x7FFF_0000
# Others say a large round number, of bytes or of sample frames. A real length is one of
# these once in some ten million times.
_ROUND_DECIMAL = 10**8
_ROUND_BINARY = 2**24
_HEADERS = (b"RIFF", b"RF64", b"BW64")
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
_PLAIN_FORMS = (1, 3, 0xFFFE)  # integers, floats, and either with a list of speakers
_MOST_CHUNKS = 4096  # before the samples
_BLOCK = 1 << 20
_HEAD = 12  # bytes of "RIFF", a size and "WAVE"


@dataclass(frozen=True)
class WavPart:
    """One recording in a file, which may hold several."""

    form: bytes
    """The body of its "fmt " chunk."""
    start: int
    """Where its samples begin."""
    stop: int
    """Where they end."""


@dataclass(frozen=True)
class _Header:
    """What one RIFF header says, as far as it can be believed."""

    form: bytes
    """The body of its "fmt " chunk."""
    start: int
    """Where its samples begin."""
    stop: int
    """Where they end, which is the file's end where nobody counted them."""
    counted: bool
    """Whether the header counts them."""


def find_wav_parts(file: BinaryIO, *, name: str) -> list[WavPart] | None:
    """The recordings of a WAV file, or None where its only header is right.

    None, too, for what is no WAV file: it needs no help from here.

    Raises ``AudioError``, naming the file, where it is cut short.
    """
    size = file.seek(0, io.SEEK_END)
    parts: list[WavPart] = []
    right = True
    position = 0
    while _is_header(file, position):
        header = _read_header(file, position, size=size, name=name)
        if header is None:
            break
        stop, position = _find_end(file, header, size=size)
        right = right and header.counted and stop == header.stop
        parts.append(WavPart(header.form, header.start, stop))
    if not parts:
        _check_riff(file, size=size, name=name)
    if right and len(parts) <= 1:
        return None
    return [part for part in parts if _length(part)] or parts[:1]


class WavReader:
    """A file to read from front to back: a right header, then one part's samples."""

    def __init__(self, file: BinaryIO, part: WavPart) -> None:
        self._file = file
        self._position = part.start
        self._stop = part.start + _length(part)
        count = min(self._stop - part.start, 0xFFFF_FFFF)  # the most means "unknown"
        whole = min(count + len(part.form) + 20, 0xFFFF_FFFF)
        form = struct.pack("<4sI", b"fmt ", len(part.form)) + part.form
        form += bytes(len(part.form) % 2)
        data = struct.pack("<4sI", b"data", count)
        self._head = struct.pack("<4sI", b"RIFF", whole) + b"WAVE" + form + data

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, none at the end."""
        if self._head:
            head = self._head if size < 0 else self._head[:size]
            self._head = self._head[len(head) :]
            return head
        left = self._stop - self._position
        found = _read(self._file, self._position, left if size < 0 else min(size, left))
        self._position += len(found)
        return found


def _read_header(file: BinaryIO, position: int, *, size: int, name: str) -> _Header | None:
    """The header at ``position``; None where it has no form or no samples."""
    form = b""
    long = 0  # RF64's 64-bit count
    for place, kind, count in _list_chunks(file, position + _HEAD, size=size):
        if kind == b"ds64":
            long = int.from_bytes(_read(file, place + 8, 8), "little")
        elif kind == b"fmt ":
            form = _read(file, place, min(count, _SLACK))
        elif kind == b"data" and len(form) >= 16:
            told = long if long and count == 0xFFFF_FFFF else count
            counted = _is_count(file, place, count=told, form=form, size=size)
            stop = place + told if counted else size
            if stop - size > _SLACK:
                raise AudioError(f"{name}: cut short, {size} of {stop} bytes; copy it again")
            return _Header(form, place, min(stop, size), counted)
    return None


def _is_count(file: BinaryIO, place: int, *, count: int, form: bytes, size: int) -> bool:
    """Whether a header's count of bytes at ``place`` is one, and no placeholder."""
    if not count:  # right where nothing follows, or something that is no sound
        return place >= size or _is_header(file, place) or _is_chunk(file, place, size=size)
    if place + count <= size:
        return True
    align = max(1, int.from_bytes(form[12:14], "little"))
    return count < _UNKNOWN_FROM and not any(
        number % step == 0
        for number in (count, count // align)
        for step in (_ROUND_DECIMAL, _ROUND_BINARY)
    )


def _find_end(file: BinaryIO, header: _Header, *, size: int) -> tuple[int, int]:
    """Where a header's samples end indeed, and where to look for the next header."""
    if not header.counted:
        stop = _find_header(file, header.start, size=size)
        return stop, stop
    position = header.stop
    if not _is_header(file, position):
        position += (header.stop - header.start) % 2  # chunks begin at even places
    behind = position
    while position < size and not _is_header(file, position):
        if not _is_chunk(file, position, size=size):
            found = _find_header(file, position, size=size)
            more = position == behind and _is_sound(file, position, stop=found)
            return (found if more else header.stop), found
        position += 8 + _read_count(file, position)
        position += not _is_header(file, position) and position % 2 != behind % 2
    return header.stop, position


def _is_sound(file: BinaryIO, start: int, *, stop: int) -> bool:
    """Whether bytes that nothing announces are samples, rather than tags, text or padding."""
    head = _read(file, start, _SLACK)
    if stop - start <= _SLACK or head.startswith(_TAGS):
        return False
    text = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if text > 0.95 * len(head):
        return False
    blocks = (_read(file, place, _BLOCK) for place in range(start, stop, _BLOCK))
    return any(block.strip(b"\0") for block in blocks)


def _find_header(file: BinaryIO, start: int, *, size: int) -> int:
    """Where the next header begins from ``start`` on; ``size`` where there is none."""
    for place in range(start, size, _BLOCK):
        block = _read(file, place, min(_BLOCK + _HEAD - 1, size - place))
        at = block.find(b"WAVE")
        while at >= 0:
            if at >= 8 and block[at - 8 : at - 4] in _HEADERS:
                return place + at - 8
            at = block.find(b"WAVE", at + 1)
    return size


def _list_chunks(file: BinaryIO, start: int, *, size: int) -> Iterator[tuple[int, bytes, int]]:
    """Each chunk's body's place, its kind and its count of bytes."""
    for _ in range(_MOST_CHUNKS):
        if start + 8 > size:
            return
        count = _read_count(file, start)
        yield start + 8, _read(file, start, 4), count
        start += 8 + count + count % 2


def _is_header(file: BinaryIO, position: int) -> bool:
    head = _read(file, position, _HEAD)
    return head[:4] in _HEADERS and head[8:] == b"WAVE"


def _is_chunk(file: BinaryIO, position: int, *, size: int) -> bool:
    """Whether a chunk with a name begins there and ends in the file."""
    kind = _read(file, position, 4)
    named = len(kind) == 4 and all(32 <= byte < 127 for byte in kind)
    return named and position + 8 + _read_count(file, position) <= size


def _check_riff(file: BinaryIO, *, size: int, name: str) -> None:
    """Refuse another RIFF file that is cut short."""
    promised = _read_count(file, 0) + 8
    if _read(file, 0, 4) == b"RIFF" and size + _SLACK < promised < _UNKNOWN_FROM:
        raise AudioError(f"{name}: cut short, {size} of {promised} bytes; copy it again")


def _length(part: WavPart) -> int:
    """Bytes of a part's whole sample frames."""
    align = int.from_bytes(part.form[12:14], "little")
    plain = int.from_bytes(part.form[:2], "little") in _PLAIN_FORMS
    length = part.stop - part.start
    return length - length % align if plain and align else length


def _read_count(file: BinaryIO, position: int) -> int:
    """The count of bytes in the head of a chunk that begins at ``position``."""
    return int.from_bytes(_read(file, position + 4, 4), "little")


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
