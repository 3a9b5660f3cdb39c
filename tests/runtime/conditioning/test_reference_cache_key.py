"""What a reference is cached under.

Keys that are safe as file names and never shared, and the folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.conditioning.reference_cache import ReferenceCache, cache_key
from echoexport.runtime.errors import SettingError

MakeReference = Callable[..., dict[str, np.ndarray]]

KEY = "ab" * 32


@pytest.mark.parametrize(
    "key",
    [
        "",
        "../../etc/passwd",
        "ABCDEF0123",
        "abc",
        "ab" * 100,
        KEY + "\n",
        "xyz" * 8,
        None,
        b"ab" * 8,
    ],
)
def test_a_key_that_is_not_hex_is_refused_before_it_becomes_a_path(
    make_reference: MakeReference, key: Any, tmp_path: Path
) -> None:
    cache = ReferenceCache(tmp_path)
    with pytest.raises(SettingError, match="hex digits"):
        cache.get(key)
    with pytest.raises(SettingError, match="hex digits"):
        cache.put(key, make_reference(1))


def test_a_key_made_of_parts_is_stable(make_reference: MakeReference) -> None:
    key = cache_key(b"bundle", "portrait", np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert key == "a38785abacc3c39208376742aedde56f8c3d6c3cbec8c4f6ecacc16585c830f5"
    ReferenceCache(None).put(key, make_reference(1))


def test_parts_cut_differently_or_of_another_kind_give_another_key() -> None:
    flat = np.arange(6, dtype=np.float32)
    keys = [
        cache_key("ab", "c"),
        cache_key("a", "bc"),
        cache_key("abc"),
        cache_key(b"abc"),
        cache_key("abc", ""),
        cache_key(flat),
        cache_key(flat.reshape(2, 3)),
        cache_key(flat.reshape(3, 2)),
        cache_key(flat.view(np.int32)),
        cache_key(flat.astype(">f4")),
        cache_key(flat.tobytes()),
    ]
    assert len(set(keys)) == len(keys)


def test_a_key_does_not_depend_on_how_an_array_lies_in_memory() -> None:
    table = np.arange(12.0).reshape(3, 4)
    assert cache_key(table) == cache_key(np.asfortranarray(table))
    assert cache_key(table.T) == cache_key(np.ascontiguousarray(table.T))


@given(st.lists(st.text(max_size=5) | st.binary(max_size=5), min_size=1, max_size=4), st.data())
def test_different_parts_give_different_keys(parts: list[Any], data: st.DataObject) -> None:
    others = data.draw(
        st.lists(st.text(max_size=5) | st.binary(max_size=5), min_size=1, max_size=4)
    )
    assert (cache_key(*parts) == cache_key(*others)) == (parts == others)


@pytest.mark.parametrize("parts", [(), (1,), (None,), (np.array([None]),)])
def test_parts_that_cannot_be_hashed_are_refused(parts: tuple[Any, ...]) -> None:
    with pytest.raises(SettingError):
        cache_key(*parts)
