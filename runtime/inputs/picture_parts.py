"""Separates the pixels of a JPEG or PNG file from its EXIF, XMP and colour profile.

Pillow reads all of a file's notes before it gives any pixel, and refuses a picture for
one odd field or large text. Here notes that do not matter are left out unread.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MOST_PROFILE_BYTES", "PictureParts", "is_split", "split_picture"]

MOST_PROFILE_BYTES = 16 << 20  # a JPEG holds no larger one; press profiles have 1 to 3 MB
MOST_NOTE_BYTES = 1 << 20  # EXIF or XMP, with thumbnails

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_EXIF_START = b"Exif\0\0"
_XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
_ICC_START = b"ICC_PROFILE\0"
_NEEDED_CHUNKS = (b"tRNS",)  # besides all critical ones, whose names start with a capital
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class PictureParts:
    """A picture file taken apart; what it lacks is empty."""

    pixels: bytes
    """The file without notes, to be decoded."""
    exif: bytes = b""
    """A TIFF header with its fields, with or without ``Exif\\0\\0`` before it."""
    xmp: bytes = b""
    """A packet of XML."""
    profile: bytes = b""
    """An ICC profile."""


def is_split(start: bytes) -> bool:
    """Whether a file that starts so is of a format that is taken apart here."""
    return start.startswith((_JPEG_START, _PNG_START))


def split_picture(content: bytes) -> PictureParts | None:
    """The parts of a JPEG or PNG file; None for other formats."""
    if content.startswith(_JPEG_START):
        return _split_jpeg(content)
    if content.startswith(_PNG_START):
        return _split_png(content)
    return None


def _split_jpeg(content: bytes) -> PictureParts:
    kept = [content[:2]]
    exif = b""
    xmp = b""
    profiles = dict[int, bytes]()
    end = 2
    for start, end in _find_segments(content):
        marker = content[start + 1]
        body = content[start + 4 : end]
        if not _is_note(marker):
            kept.append(content[start:end])
        elif body.startswith(_EXIF_START):  # a second segment goes on where the first ended
            exif += body[len(_EXIF_START) :]
        elif body.startswith(_XMP_START):
            xmp = xmp or body[len(_XMP_START) :]
        elif body.startswith(_ICC_START) and len(body) > 14:
            profiles[body[12]] = body[14:]
    kept.append(content[end:])
    profile = b"".join(profiles[number] for number in sorted(profiles))
    return PictureParts(b"".join(kept), exif, xmp, profile)


def _is_note(marker: int) -> bool:
    """Comments, and application segments but JFIF's and Adobe's, which tell of colours."""
    return marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)


def _find_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of a JPEG's segments, up to the first that is pixels or makes no sense."""
    start = 2
    while start + 4 <= len(content) and content[start] == 0xFF:
        marker = content[start + 1]
        if marker == 0xFF:  # a filling byte
            start += 1
            continue
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
        if marker in (0x00, 0x01, 0xDA) or 0xD0 <= marker <= 0xD9:
            return
        if not start + 4 <= end <= len(content):
            return
        yield start, end
        start = end


def _split_png(content: bytes) -> PictureParts:
    kept = [_PNG_START]
    notes = dict[str, bytes]()
    end = len(_PNG_START)
    for start, end in _find_chunks(content):
        name = content[start + 4 : start + 8]
        body = content[start + 8 : end - 4]
        if name[:1].isupper() or name in _NEEDED_CHUNKS:
            kept.append(content[start:end])
        elif name == b"eXIf":
            notes["exif"] = body
        elif name == b"iCCP":
            packed = body.partition(b"\0")[2][1:]
            notes.setdefault("profile", _inflate(packed, most=MOST_PROFILE_BYTES))
        elif name in _TEXT_CHUNKS and len(body) <= MOST_NOTE_BYTES:
            for key, note in _read_text(name, body).items():
                notes.setdefault(key, note)
    kept.append(content[end:])
    return PictureParts(b"".join(kept), **notes)


def _find_chunks(content: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of a PNG's chunks, up to the last whole one."""
    start = len(_PNG_START)
    while start + 12 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if end > len(content):
            return
        yield start, end
        if content[start + 4 : start + 8] == b"IEND":
            return
        start = end


def _read_text(name: bytes, body: bytes) -> dict[str, bytes]:
    """The EXIF or XMP that a text chunk holds, as older writers and Adobe's put it there."""
    key, _, rest = body.partition(b"\0")
    if key == b"XML:com.adobe.xmp" and name == b"iTXt":
        packed = rest[:1] == b"\1"
        text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        return {"xmp": _inflate(text, most=MOST_NOTE_BYTES) if packed else text}
    if key == b"Raw profile type exif" and name in (b"tEXt", b"zTXt"):
        text = rest if name == b"tEXt" else _inflate(rest[1:], most=MOST_NOTE_BYTES)
        return {"exif": _read_hex(b"".join(text.split(b"\n")[3:]))}
    return {}


def _read_hex(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""


def _inflate(packed: bytes, *, most: int) -> bytes:
    """What zlib packed; nothing where it is broken or unpacks to more than ``most`` bytes."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, most)
    except zlib.error:
        return b""
    return content if unpacker.eof else b""
