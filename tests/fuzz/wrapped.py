"""Damages what lies inside a format and mends its check sums, so that readers get to see it."""

from __future__ import annotations

import random
import struct
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO

from fuzz.mutations import mutate_bytes, mutate_json

_PNG_START = 8
_OGG_POLYNOMIAL = 0x04C11DB7


def mutate_picture(content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
    """A picture's bytes; the chunks of a PNG with their check sums."""
    mutated = mutate_bytes(content, draw, others=others)
    if mutated.startswith(b"\x89PNG") and draw.random() < 0.7:
        return _sum_png(mutated)
    return mutated


def mutate_sound(content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
    """A sound's bytes; the pages of an Ogg file with their check sums."""
    mutated = mutate_bytes(content, draw, others=others)
    if mutated.startswith(b"OggS") and draw.random() < 0.7:
        return _sum_ogg(mutated)
    return mutated


def mutate_archive(content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
    """An archive's bytes, or one of its entries, packed anew."""
    if not content.startswith(b"PK") or draw.random() < 0.4:
        return mutate_bytes(content, draw, others=others)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(entries))
    if draw.random() < 0.6:  # the entry with most to say
        name = next((name for name in entries if name.endswith((".pkl", ".tflite"))), name)
    entries[name] = mutate_bytes(entries[name], draw, others=list(entries.values()))
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, entry in entries.items():
            archive.writestr(zipfile.ZipInfo(name), entry)
    return packed.getvalue()


def mutate_table(content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
    """A file of eight bytes of length, JSON and values: safetensors."""
    if draw.random() < 0.5:
        return mutate_bytes(content, draw, others=others)
    (length,) = struct.unpack("<Q", content[:8])
    head = content[8 : 8 + length].rstrip()
    header = mutate_json(head, draw, others=[head])
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _sum_png(content: bytes) -> bytes:
    found = [content[:_PNG_START]]
    place = _PNG_START
    while place + 12 <= len(content):
        count = int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : place + 8 + count]
        found += [content[place : place + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        place += 12 + count
    return b"".join(found) + content[place:]


def _sum_ogg(content: bytes) -> bytes:
    pages = content.split(b"OggS")[1:]
    found = []
    for page in pages:
        bare = b"OggS" + page[:18] + bytes(4) + page[22:]
        found.append(bare[:22] + _ogg_sum(bare).to_bytes(4, "little") + bare[26:])
    return b"".join(found)


def _make_ogg_row(number: int) -> int:
    value = number << 24
    for _ in range(8):
        value = (value << 1) ^ (_OGG_POLYNOMIAL if value & 0x80000000 else 0)
    return value & 0xFFFFFFFF


_OGG_ROWS = [_make_ogg_row(number) for number in range(256)]


def _ogg_sum(page: bytes) -> int:
    found = 0
    for byte in page:
        found = (found << 8) & 0xFFFFFFFF ^ _OGG_ROWS[found >> 24 ^ byte]
    return found
