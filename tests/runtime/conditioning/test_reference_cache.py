"""The reference cache: what is put comes back, and bounds hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from echoexport.runtime.conditioning import reference_cache
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.errors import SettingError

Reference = dict[str, np.ndarray]
MakeReference = Callable[..., Reference]
Contents = Callable[[Reference | None], Any]
KEY = "ab" * 32
OTHER = "cd" * 32
PLAIN = ["<f2", "<f4", "<f8", "<i4", "<i8", "|u1", "|b1", ">f4"]


def test_an_unknown_key_is_a_miss(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path)
    assert cache.get(KEY) is None
    assert (cache.stats.hits, cache.stats.misses) == (0, 1)


def test_what_is_put_comes_back_from_memory_without_a_folder(
    make_reference: MakeReference, contents: Contents
) -> None:
    cache = ReferenceCache(None)
    cache.put(KEY, make_reference(1))
    assert contents(cache.get(KEY)) == contents(make_reference(1))
    assert (cache.stats.hits, cache.stats.disk_hits, cache.stats.misses) == (1, 0, 0)


def test_a_second_process_finds_on_disk_what_the_first_put(
    make_reference: MakeReference, contents: Contents, tmp_path: Path
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    second = ReferenceCache(tmp_path)
    assert contents(second.get(KEY)) == contents(make_reference(1))
    assert contents(second.get(KEY)) == contents(make_reference(1))
    assert (second.stats.hits, second.stats.disk_hits, second.stats.misses) == (2, 1, 0)


def test_the_folder_is_made_when_needed_and_private(
    make_reference: MakeReference, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    folder = tmp_path / "a" / "b"
    cache = ReferenceCache(folder)
    assert cache.get(KEY) is None
    assert not folder.exists()
    cache.put(KEY, make_reference(1))
    assert entry_of(folder).is_file()
    assert folder.stat().st_mode & 0o077 == 0


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=10),
        hnp.arrays(
            st.sampled_from(PLAIN), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
        ),
        max_size=4,
    )
)
def test_any_plain_arrays_survive_the_disk_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    ReferenceCache(folder).put(KEY, arrays)
    found = ReferenceCache(folder).get(KEY)
    assert found is not None and list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_arrays_that_are_not_contiguous_come_back_right(contents: Contents, tmp_path: Path) -> None:
    arrays = {"turned": np.arange(24.0).reshape(2, 3, 4).T, "every_other": np.arange(20)[::2]}
    ReferenceCache(tmp_path).put(KEY, arrays)
    assert contents(ReferenceCache(tmp_path).get(KEY)) == contents(arrays)


@pytest.mark.parametrize("from_disk", [False, True])
def test_returned_arrays_cannot_be_written_to(
    make_reference: MakeReference, from_disk: bool, tmp_path: Path
) -> None:
    cache = ReferenceCache(tmp_path)
    kept = cache.put(KEY, make_reference(1))
    found = (ReferenceCache(tmp_path) if from_disk else cache).get(KEY)
    assert found is not None
    for array in (*kept.values(), *found.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


def test_the_caller_may_reuse_the_arrays_and_the_mapping_afterwards(
    make_reference: MakeReference, contents: Contents
) -> None:
    cache = ReferenceCache(None)
    mine = make_reference(1)
    cache.put(KEY, mine)
    mine["face_feature"][:] = 0
    found = cache.get(KEY)
    assert found is not None
    found.clear()
    assert contents(cache.get(KEY)) == contents(make_reference(1))


def test_arrays_nobody_can_write_to_are_not_copied(
    make_reference: MakeReference, tmp_path: Path
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    found = ReferenceCache(tmp_path).get(KEY)
    assert found is not None
    kept = ReferenceCache(None).put(OTHER, found)
    assert all(kept[name] is found[name] for name in found)


def test_a_read_only_view_of_a_writable_array_is_copied(contents: Contents) -> None:
    mine = np.arange(5.0)
    view = mine[:]
    view.setflags(write=False)
    cache = ReferenceCache(None)
    cache.put(KEY, {"a": view})
    mine[:] = 0
    assert contents(cache.get(KEY)) == contents({"a": np.arange(5.0)})


def test_a_later_put_replaces_the_earlier_one(
    make_reference: MakeReference, contents: Contents, tmp_path: Path
) -> None:
    cache = ReferenceCache(tmp_path)
    cache.put(KEY, make_reference(1))
    cache.put(KEY, make_reference(2))
    assert contents(cache.get(KEY)) == contents(make_reference(2))
    assert contents(ReferenceCache(tmp_path).get(KEY)) == contents(make_reference(2))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reset_forgets_memory_and_counts_but_not_the_disk(
    make_reference: MakeReference, tmp_path: Path
) -> None:
    cache = ReferenceCache(tmp_path)
    cache.put(KEY, make_reference(1))
    cache.get(KEY)
    cache.reset()
    assert cache.stats == reference_cache.CacheStats()
    cache.get(KEY)
    assert cache.stats.disk_hits == 1


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([None]),
        np.zeros(2, "f4,f4"),
        np.zeros(2, complex),
        np.array("2024", "M8[D]"),
    ],
)
def test_arrays_that_are_not_plain_numbers_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="float, integer and bool"):
        ReferenceCache(tmp_path).put(KEY, {"a": array})


def test_memory_keeps_the_entries_used_last(make_reference: MakeReference) -> None:
    cache = ReferenceCache(None, memory_bytes=13_000)  # two portraits of 6000 bytes
    cache.put("aa" * 8, make_reference(1))
    cache.put("bb" * 8, make_reference(2))
    cache.get("aa" * 8)
    cache.put("cc" * 8, make_reference(3))
    assert [cache.get(name * 8) is not None for name in ("aa", "bb", "cc")] == [True, False, True]


def test_an_entry_larger_than_memory_lives_on_disk_only_and_pushes_nothing_out(
    make_reference: MakeReference, contents: Contents, tmp_path: Path
) -> None:
    cache = ReferenceCache(tmp_path, memory_bytes=7000)
    cache.put(KEY, make_reference(1))
    cache.put(OTHER, make_reference(2, size=5000))
    assert contents(cache.get(OTHER)) == contents(make_reference(2, size=5000))
    assert contents(cache.get(KEY)) == contents(make_reference(1))
    assert (cache.stats.hits, cache.stats.disk_hits) == (2, 1)


def test_disk_keeps_the_entries_used_last_and_stays_below_its_bound(
    make_reference: MakeReference, tmp_path: Path
) -> None:
    bound = 3 * 6500
    for step, name in enumerate(["aa", "bb", "cc"]):
        ReferenceCache(tmp_path, disk_bytes=bound).put(name * 8, make_reference(step))
    assert ReferenceCache(tmp_path, disk_bytes=bound).get("aa" * 8) is not None
    ReferenceCache(tmp_path, disk_bytes=bound).put("dd" * 8, make_reference(4))
    assert {path.name[:2] for path in tmp_path.iterdir()} == {"aa", "cc", "dd"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= bound


def test_a_hit_in_memory_also_counts_as_use_on_disk(
    make_reference: MakeReference, tmp_path: Path
) -> None:
    cache = ReferenceCache(tmp_path, disk_bytes=2 * 6500)
    cache.put("aa" * 8, make_reference(1))
    cache.put("bb" * 8, make_reference(2))
    cache.get("aa" * 8)
    cache.put("cc" * 8, make_reference(3))
    assert {path.name[:2] for path in tmp_path.iterdir()} == {"aa", "cc"}


def test_replacing_an_entry_needs_room_for_the_new_one_only(
    make_reference: MakeReference, tmp_path: Path
) -> None:
    cache = ReferenceCache(tmp_path, disk_bytes=2 * 6500)
    cache.put(KEY, make_reference(1))
    cache.put(OTHER, make_reference(2))
    cache.put(OTHER, make_reference(3))
    assert len(list(tmp_path.iterdir())) == 2


def test_an_entry_larger_than_the_disks_bound_is_not_written_and_evicts_nothing(
    make_reference: MakeReference, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    cache = ReferenceCache(tmp_path, disk_bytes=7000)
    cache.put(KEY, make_reference(1))
    cache.put(OTHER, make_reference(2, size=5000))
    assert [path.name for path in tmp_path.iterdir()] == [entry_of(tmp_path).name]


def test_an_entry_written_under_a_larger_bound_is_a_miss_and_left_alone(
    make_reference: MakeReference, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    small = ReferenceCache(tmp_path, disk_bytes=100)
    assert small.get(KEY) is None
    assert (small.stats.misses, small.stats.dropped) == (1, 0)
    assert entry_of(tmp_path).exists()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 40)), max_size=20))
def test_whatever_happens_the_bounds_hold_and_what_is_found_is_what_was_put(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[bool, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = ReferenceCache(folder, memory_bytes=300, disk_bytes=1500)
    last: dict[str, np.ndarray] = {}
    for writing, number, size in actions:
        key = f"{number:08x}"
        if writing:
            last[key] = np.full(size, number, np.float32)
            cache.put(key, {"a": last[key]})
        else:
            found = cache.get(key)
            if found is not None:
                np.testing.assert_array_equal(found["a"], last[key])
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 1500


def test_files_of_others_in_the_folder_are_left_alone(
    make_reference: MakeReference, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_bytes(bytes(20_000))
    cache = ReferenceCache(tmp_path, disk_bytes=6500)
    cache.put(KEY, make_reference(1))
    cache.put(OTHER, make_reference(2))
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("bounds", [{"memory_bytes": -1}, {"disk_bytes": -1}])
def test_negative_bounds_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="-1"):
        ReferenceCache(None, **bounds)
