"""Damages bytes and JSON as disks, networks and strangers do; the same for the same numbers."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

LARGEST = 1 << 20  # bytes of what comes out; a seed has a few thousand
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**65, -(2**63), 1e308, -0.0, 0.5),
    *("", "0", "..", "/etc/hostname", "a\nb", "\ud800", "x" * 5000, [], {}, [[]], [None]),
)


def mutate_bytes(content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
    """One to four damages; ``others`` are what pieces come from."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        damage = draw.choice(_DAMAGES)
        content = damage(content, draw, others)[:LARGEST]
    return content


def mutate_json(content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
    """As bytes, or as what they say: a value replaced, a key renamed, removed or put elsewhere."""
    if draw.random() < 0.3:
        return mutate_bytes(content, draw, others=others)
    data = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        _change_value(data, draw)
    return json.dumps(data, indent=draw.choice((None, 2))).encode()


def _flip_bit(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place = _near_start(content, draw)
    return (
        _put(content, place, bytes([content[place] ^ 1 << draw.randrange(8)])) if content else b""
    )


def _set_byte(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    return _put(content, _near_start(content, draw), draw.randbytes(1))


def _cut_end(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _drop_piece(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place = _near_start(content, draw)
    return content[:place] + content[place + _length(draw) :]


def _insert_noise(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place = _near_start(content, draw)
    return content[:place] + draw.randbytes(_length(draw)) + content[place:]


def _repeat_piece(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place = _near_start(content, draw)
    piece = content[place : place + _length(draw)]
    return content[:place] + piece * draw.choice((2, 3, 50)) + content[place:]


def _splice(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    other = draw.choice(others)
    return content[: _near_start(content, draw)] + other[_near_start(other, draw) :]


def _put_number(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    """A number of two, four or eight bytes, as headers hold sizes, counts and places."""
    size = draw.choice((2, 4, 8))
    number = draw.choice(_NUMBERS) % (1 << 8 * size)
    return _put(content, _near_start(content, draw), number.to_bytes(size, draw.choice(_ORDERS)))


def _shift_number(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    """A number that is there, a little larger or smaller."""
    size = draw.choice((1, 2, 4))
    place = _near_start(content, draw)
    order = draw.choice(_ORDERS)
    number = int.from_bytes(content[place : place + size], order) + draw.randint(-9, 9)
    return _put(content, place, (number % (1 << 8 * size)).to_bytes(size, order))


def _change_digits(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    """A number that is spelt out, as headers of text hold them."""
    found = list(re.finditer(rb"-?\d+", content[:4096]))
    if not found:
        return content
    number = draw.choice(found)
    other = str(draw.choice((0, -1, 2**31, 2**63, 10**30, int(number[0]) + 1))).encode()
    return content[: number.start()] + other + content[number.end() :]


_ORDERS: tuple[Any, ...] = ("little", "big")
_DAMAGES: tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...] = (
    *(_flip_bit, _flip_bit, _set_byte, _cut_end, _drop_piece, _insert_noise, _repeat_piece),
    *(_splice, _put_number, _put_number, _shift_number, _change_digits),
)


def _near_start(content: bytes, draw: random.Random) -> int:
    """A place; one time in two among the first bytes, where headers are."""
    most = min(len(content), 256) if draw.random() < 0.5 else len(content)
    return draw.randrange(max(most, 1))


def _length(draw: random.Random) -> int:
    return draw.choice((1, 2, 4, 8, 30, 200, 3000))


def _put(content: bytes, place: int, piece: bytes) -> bytes:
    return content[:place] + piece + content[place + len(piece) :]


def _change_value(data: Any, draw: random.Random) -> None:
    places = _list_places(data)
    if not places:
        return
    place, key = draw.choice(places)
    action = draw.random()
    if action < 0.15:
        del place[key]
    elif action < 0.3 and isinstance(place, dict):
        place[draw.choice(("", "format", f"{key}\u0000", f"{key} "))] = place.pop(key)
    elif action < 0.5:
        other, name = draw.choice(places)
        place[key] = json.loads(json.dumps(other[name]))
    elif isinstance(place[key], int | float) and action < 0.8:
        place[key] = draw.choice((place[key] + 1, -place[key], place[key] * 2, place[key] / 2))
    else:
        place[key] = draw.choice(_VALUES)


def _list_places(data: Any) -> list[tuple[Any, Any]]:
    """Every value in a document, as what holds it and its key there."""
    found: list[tuple[Any, Any]] = []
    keys = list(data) if isinstance(data, dict) else range(len(data))
    for key in keys:
        found.append((data, key))
        if isinstance(data[key], dict | list):
            found += _list_places(data[key])
    return found
