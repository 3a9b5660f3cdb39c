"""One file of the reference cache: whatever is wrong with it, it is dropped and no lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.conditioning.reference_cache import ReferenceCache

Reference = dict[str, np.ndarray]
MakeReference = Callable[..., Reference]
KEY = "ab" * 32
OTHER = "cd" * 32


def resealed(content: bytes) -> bytes:
    """The content with a checksum that fits it, as someone who tampers would make it."""
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


def with_header(content: bytes, header: object) -> bytes:
    """The entry with its header swapped for one of the same length."""
    length = int.from_bytes(content[8:16], "little")
    text = json.dumps(header).encode().ljust(length)
    assert len(text) == length
    return resealed(content[:16] + text + content[16 + length :])


def test_an_entry_cut_off_anywhere_is_dropped_and_counts_as_a_miss(
    make_reference: MakeReference, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    whole = entry_of(tmp_path).read_bytes()
    for length in (0, 1, 15, 16, 47, 48, 100, len(whole) // 2, len(whole) - 1):
        entry_of(tmp_path).write_bytes(whole[:length])
        cache = ReferenceCache(tmp_path)
        assert cache.get(KEY) is None
        assert (cache.stats.hits, cache.stats.misses, cache.stats.dropped) == (0, 1, 1)
        assert not entry_of(tmp_path).exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_entry_with_any_bit_turned_is_dropped(
    make_reference: MakeReference,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    entry_of: Callable[..., Path],
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    ReferenceCache(folder).put(KEY, make_reference(1, size=100))
    content = bytearray(entry_of(folder).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    entry_of(folder).write_bytes(content)
    assert ReferenceCache(folder).get(KEY) is None
    assert not entry_of(folder).exists()


def test_an_entry_renamed_to_another_key_is_dropped(
    make_reference: MakeReference, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    entry_of(tmp_path).rename(entry_of(tmp_path, OTHER))
    assert ReferenceCache(tmp_path).get(OTHER) is None
    assert not entry_of(tmp_path, OTHER).exists()


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"key": KEY},
        {"key": KEY, "arrays": 5},
        {"key": KEY, "arrays": [{"name": "a", "dtype": "|O", "shape": [1]}]},
        {"key": KEY, "arrays": [{"name": "a", "dtype": "<f4", "shape": [-1]}]},
        {"key": KEY, "arrays": [{"name": "a", "dtype": "<f4", "shape": [10**9]}]},
        {"key": KEY, "arrays": [{"name": "a", "dtype": "<f4", "shape": 3}]},
        {"key": KEY, "arrays": [{"name": ["a"], "dtype": "<f4", "shape": []}]},
        {"key": KEY, "arrays": []},
    ],
)
def test_an_entry_whose_header_lies_under_a_valid_checksum_is_dropped(
    make_reference: MakeReference, header: object, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    entry_of(tmp_path).write_bytes(with_header(entry_of(tmp_path).read_bytes(), header))
    cache = ReferenceCache(tmp_path)
    assert cache.get(KEY) is None
    assert cache.stats.dropped == 1


def test_a_header_longer_than_the_file_is_dropped(
    make_reference: MakeReference, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    content = entry_of(tmp_path).read_bytes()
    entry_of(tmp_path).write_bytes(resealed(content[:8] + b"\xff" * 8 + content[16:]))
    assert ReferenceCache(tmp_path).get(KEY) is None
