"""Finds how a picture is turned, in EXIF or XMP, and looks at no other field of them."""

from __future__ import annotations

import re
import struct

__all__ = ["UPRIGHT", "find_orientation"]

UPRIGHT = 1

_TAG = 0x0112
_EXIF_START = b"Exif\0\0"
_FIELD_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # EXIF type to integer
_XMP_PATTERN = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])[\"'<]")


def find_orientation(exif: bytes, xmp: bytes = b"") -> int:
    """1 to 8 as EXIF counts them; 1, upright, where neither says so or what they say is odd.

    ``exif`` is a TIFF header with its fields; ``Exif\\0\\0`` may stand before it. It wins
    over ``xmp``, a packet of XML.
    """
    while exif.startswith(_EXIF_START):
        exif = exif[len(_EXIF_START) :]
    found = _find_in_fields(exif)
    if found is None:
        match = _XMP_PATTERN.search(xmp)
        found = UPRIGHT if match is None else int(match[1])
    return found if 1 <= found <= 8 else UPRIGHT


def _find_in_fields(exif: bytes) -> int | None:
    """The value of the first directory's orientation field, None where there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    start: int = struct.unpack_from(order + "I", exif, 4)[0]
    if start + 2 > len(exif):
        return None
    count: int = struct.unpack_from(order + "H", exif, start)[0]
    for place in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", exif, place)
        if tag == _TAG:
            return _read_value(exif[place + 4 : place + 12], kind, order=order)
    return None


def _read_value(field: bytes, kind: int, *, order: str) -> int:
    """The value of a field from its count on; upright where it is no single integer."""
    form = _FIELD_FORMATS.get(kind)
    count: int = struct.unpack_from(order + "I", field)[0]
    if form is None or count != 1:
        return UPRIGHT
    return int(struct.unpack_from(order + form, field, 4)[0])
