"""The reference cache: what is put comes back, bounds hold, broken files and full disks do no harm."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from echoexport.runtime import reference_cache, reference_entry
from echoexport.runtime.errors import SettingError
from echoexport.runtime.reference_cache import ReferenceCache, cache_key, default_cache_folder

KEY = "ab" * 32
OTHER = "cd" * 32
PLAIN = ["<f2", "<f4", "<f8", "<i4", "<i8", "|u1", "|b1", ">f4"]


def portrait(seed: int, size: int = 1000) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    return {
        "down_blocks.0/key": numbers.standard_normal((1, size // 10, 10)).astype(np.float16),
        "face_feature": numbers.standard_normal((1, size)).astype(np.float32),
    }


def assert_same(actual: dict[str, np.ndarray] | None, wanted: dict[str, np.ndarray]) -> None:
    assert actual is not None
    assert list(actual) == list(wanted)
    for name, array in wanted.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)


def entry_of(folder: Path, key: str = KEY) -> Path:
    return folder / f"{key}.reference"


def resealed(content: bytes) -> bytes:
    """The content with a checksum that fits it, as someone who tampers would make it."""
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


def with_header(content: bytes, header: object) -> bytes:
    """The entry with its header swapped for one of the same length."""
    length = int.from_bytes(content[8:16], "little")
    text = json.dumps(header).encode().ljust(length)
    assert len(text) == length
    return resealed(content[:16] + text + content[16 + length :])


# --- what is put comes back


def test_an_unknown_key_is_a_miss(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path)
    assert cache.get(KEY) is None
    assert (cache.stats.hits, cache.stats.misses) == (0, 1)


def test_what_is_put_comes_back_from_memory_without_a_folder() -> None:
    cache = ReferenceCache(None)
    cache.put(KEY, portrait(1))
    assert_same(cache.get(KEY), portrait(1))
    assert (cache.stats.hits, cache.stats.disk_hits, cache.stats.misses) == (1, 0, 0)


def test_a_second_process_finds_on_disk_what_the_first_put(tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
    second = ReferenceCache(tmp_path)
    assert_same(second.get(KEY), portrait(1))
    assert_same(second.get(KEY), portrait(1))
    assert (second.stats.hits, second.stats.disk_hits, second.stats.misses) == (2, 1, 0)


def test_the_folder_is_made_when_needed_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    cache = ReferenceCache(folder)
    assert cache.get(KEY) is None
    assert not folder.exists()
    cache.put(KEY, portrait(1))
    assert entry_of(folder).is_file()
    assert folder.stat().st_mode & 0o077 == 0


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=10),
        hnp.arrays(st.sampled_from(PLAIN), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)),
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


def test_arrays_that_are_not_contiguous_come_back_right(tmp_path: Path) -> None:
    arrays = {"turned": np.arange(24.0).reshape(2, 3, 4).T, "every_other": np.arange(20)[::2]}
    ReferenceCache(tmp_path).put(KEY, arrays)
    assert_same(ReferenceCache(tmp_path).get(KEY), arrays)


@pytest.mark.parametrize("from_disk", [False, True])
def test_returned_arrays_cannot_be_written_to(from_disk: bool, tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path)
    kept = cache.put(KEY, portrait(1))
    found = (ReferenceCache(tmp_path) if from_disk else cache).get(KEY)
    assert found is not None
    for array in (*kept.values(), *found.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


def test_the_caller_may_reuse_the_arrays_and_the_mapping_afterwards() -> None:
    cache = ReferenceCache(None)
    mine = portrait(1)
    cache.put(KEY, mine)
    mine["face_feature"][:] = 0
    found = cache.get(KEY)
    assert found is not None
    found.clear()
    assert_same(cache.get(KEY), portrait(1))


def test_arrays_nobody_can_write_to_are_not_copied(tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
    found = ReferenceCache(tmp_path).get(KEY)
    assert found is not None
    kept = ReferenceCache(None).put(OTHER, found)
    assert all(kept[name] is found[name] for name in found)


def test_a_read_only_view_of_a_writable_array_is_copied() -> None:
    mine = np.arange(5.0)
    view = mine[:]
    view.setflags(write=False)
    cache = ReferenceCache(None)
    cache.put(KEY, {"a": view})
    mine[:] = 0
    assert_same(cache.get(KEY), {"a": np.arange(5.0)})


def test_a_later_put_replaces_the_earlier_one(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path)
    cache.put(KEY, portrait(1))
    cache.put(KEY, portrait(2))
    assert_same(cache.get(KEY), portrait(2))
    assert_same(ReferenceCache(tmp_path).get(KEY), portrait(2))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reset_forgets_memory_and_counts_but_not_the_disk(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path)
    cache.put(KEY, portrait(1))
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


# --- bounds


def test_memory_keeps_the_entries_used_last() -> None:
    cache = ReferenceCache(None, memory_bytes=13_000)  # two portraits of 6000 bytes
    cache.put("aa" * 8, portrait(1))
    cache.put("bb" * 8, portrait(2))
    cache.get("aa" * 8)
    cache.put("cc" * 8, portrait(3))
    assert [cache.get(name * 8) is not None for name in ("aa", "bb", "cc")] == [True, False, True]


def test_an_entry_larger_than_memory_lives_on_disk_only_and_pushes_nothing_out(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, memory_bytes=7000)
    cache.put(KEY, portrait(1))
    cache.put(OTHER, portrait(2, size=5000))
    assert_same(cache.get(OTHER), portrait(2, size=5000))
    assert_same(cache.get(KEY), portrait(1))
    assert (cache.stats.hits, cache.stats.disk_hits) == (2, 1)


def test_disk_keeps_the_entries_used_last_and_stays_below_its_bound(tmp_path: Path) -> None:
    bound = 3 * 6500
    for step, name in enumerate(["aa", "bb", "cc"]):
        ReferenceCache(tmp_path, disk_bytes=bound).put(name * 8, portrait(step))
    assert ReferenceCache(tmp_path, disk_bytes=bound).get("aa" * 8) is not None
    ReferenceCache(tmp_path, disk_bytes=bound).put("dd" * 8, portrait(4))
    assert {path.name[:2] for path in tmp_path.iterdir()} == {"aa", "cc", "dd"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= bound


def test_a_hit_in_memory_also_counts_as_use_on_disk(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, disk_bytes=2 * 6500)
    cache.put("aa" * 8, portrait(1))
    cache.put("bb" * 8, portrait(2))
    cache.get("aa" * 8)
    cache.put("cc" * 8, portrait(3))
    assert {path.name[:2] for path in tmp_path.iterdir()} == {"aa", "cc"}


def test_replacing_an_entry_needs_room_for_the_new_one_only(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, disk_bytes=2 * 6500)
    cache.put(KEY, portrait(1))
    cache.put(OTHER, portrait(2))
    cache.put(OTHER, portrait(3))
    assert len(list(tmp_path.iterdir())) == 2


def test_an_entry_larger_than_the_disks_bound_is_not_written_and_evicts_nothing(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, disk_bytes=7000)
    cache.put(KEY, portrait(1))
    cache.put(OTHER, portrait(2, size=5000))
    assert [path.name for path in tmp_path.iterdir()] == [entry_of(tmp_path).name]


def test_an_entry_written_under_a_larger_bound_is_a_miss_and_left_alone(tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
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


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(bytes(20_000))
    cache = ReferenceCache(tmp_path, disk_bytes=6500)
    cache.put(KEY, portrait(1))
    cache.put(OTHER, portrait(2))
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("bounds", [{"memory_bytes": -1}, {"disk_bytes": -1}])
def test_negative_bounds_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="-1"):
        ReferenceCache(None, **bounds)


# --- broken entries


def test_an_entry_cut_off_anywhere_is_dropped_and_counts_as_a_miss(tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
    whole = entry_of(tmp_path).read_bytes()
    for length in (0, 1, 15, 16, 47, 48, 100, len(whole) // 2, len(whole) - 1):
        entry_of(tmp_path).write_bytes(whole[:length])
        cache = ReferenceCache(tmp_path)
        assert cache.get(KEY) is None
        assert (cache.stats.hits, cache.stats.misses, cache.stats.dropped) == (0, 1, 1)
        assert not entry_of(tmp_path).exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_entry_with_any_bit_turned_is_dropped(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("cache")
    ReferenceCache(folder).put(KEY, portrait(1, size=100))
    content = bytearray(entry_of(folder).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    entry_of(folder).write_bytes(content)
    assert ReferenceCache(folder).get(KEY) is None
    assert not entry_of(folder).exists()


def test_an_entry_renamed_to_another_key_is_dropped(tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
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
def test_an_entry_whose_header_lies_under_a_valid_checksum_is_dropped(header: object, tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
    entry_of(tmp_path).write_bytes(with_header(entry_of(tmp_path).read_bytes(), header))
    cache = ReferenceCache(tmp_path)
    assert cache.get(KEY) is None
    assert cache.stats.dropped == 1


def test_a_header_longer_than_the_file_is_dropped(tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
    content = entry_of(tmp_path).read_bytes()
    entry_of(tmp_path).write_bytes(resealed(content[:8] + b"\xff" * 8 + content[16:]))
    assert ReferenceCache(tmp_path).get(KEY) is None


def test_a_folder_where_an_entry_should_be_is_a_miss_not_a_crash(tmp_path: Path) -> None:
    entry_of(tmp_path).mkdir()
    assert ReferenceCache(tmp_path).get(KEY) is None


# --- crashes, full and read-only disks


def test_a_crash_in_mid_write_leaves_the_old_entry_and_a_part_that_is_cleaned_up_later(
    tmp_path: Path,
) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
    program = f"""
import os, sys
from pathlib import Path
import numpy as np
from echoexport.runtime import reference_cache
def die(file, header, arrays):
    file.write(header)
    file.flush()
    os._exit(7)
reference_cache.write_entry = die
reference_cache.ReferenceCache(Path(sys.argv[1])).put({KEY!r}, {{"a": np.zeros(9)}})
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == 7
    parts = [path for path in tmp_path.iterdir() if path != entry_of(tmp_path)]
    assert len(parts) == 1
    assert_same(ReferenceCache(tmp_path).get(KEY), portrait(1))
    ReferenceCache(tmp_path).put(OTHER, portrait(2))
    assert parts[0].exists()  # its writer may still be at work
    long_ago = time.time() - 3600
    os.utime(parts[0], (long_ago, long_ago))
    ReferenceCache(tmp_path).put(OTHER, portrait(2))
    assert not parts[0].exists()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_no_more_leaves_memory_working_with_one_warning_and_no_part(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: Any, header: bytes, arrays: object) -> None:
        file.write(header)
        raise OSError(number, os.strerror(number))

    ReferenceCache(tmp_path).put("ef" * 8, portrait(0))
    monkeypatch.setattr(reference_cache, "write_entry", fail)
    cache = ReferenceCache(tmp_path)
    with pytest.warns(RuntimeWarning, match=f"{os.strerror(number)}.*memory only") as caught:
        cache.put(KEY, portrait(1))
        cache.put(OTHER, portrait(2))
    assert len(caught) == 1
    assert_same(cache.get(KEY), portrait(1))
    assert_same(cache.get("ef" * 8), portrait(0))  # what the disk holds is still of use
    assert len(list(tmp_path.iterdir())) == 1


def test_a_really_full_device_is_survived_too() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    header = reference_entry.encode_header(KEY, portrait(1))
    with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("wb") as file:
        reference_entry.write_entry(file, header, portrait(1))


def test_a_folder_that_cannot_be_made_leaves_memory_working_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ReferenceCache(tmp_path / "file" / "cache")
    with pytest.warns(RuntimeWarning, match="cannot be written") as caught:
        cache.put(KEY, portrait(1))
        cache.put(OTHER, portrait(2))
    assert len(caught) == 1
    assert_same(cache.get(OTHER), portrait(2))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_still_serves_what_it_holds(tmp_path: Path) -> None:
    ReferenceCache(tmp_path).put(KEY, portrait(1))
    tmp_path.chmod(0o500)
    try:
        cache = ReferenceCache(tmp_path)
        with pytest.warns(RuntimeWarning, match="Permission denied"):
            cache.put(OTHER, portrait(2))
        assert_same(cache.get(KEY), portrait(1))
        assert_same(cache.get(OTHER), portrait(2))
    finally:
        tmp_path.chmod(0o700)


# --- several at once


def test_processes_that_write_read_and_evict_at_once_never_see_a_wrong_entry(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from echoexport.runtime.reference_cache import ReferenceCache
numbers = np.random.default_rng(int(sys.argv[2]))
found = 0
for _ in range(150):
    n = int(numbers.integers(6))
    cache = ReferenceCache(Path(sys.argv[1]), disk_bytes=4 * 41_000)
    if numbers.random() < 0.5:
        cache.put(f"{n:08x}", {"a": np.full(10_000, n, np.float32)})
    else:
        arrays = cache.get(f"{n:08x}")
        found += arrays is not None
        if arrays is not None and not (arrays["a"] == n).all() or cache.stats.dropped:
            sys.exit(f"wrong entry {n}")
sys.exit(0 if found else "nothing was ever found")
"""
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    running = [subprocess.Popen([*command, str(seed)]) for seed in (1, 2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert all(path.name.endswith(".reference") for path in tmp_path.iterdir())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * 41_000


def test_threads_may_share_one_cache(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, memory_bytes=9000)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for n in np.random.default_rng(seed).integers(5, size=40):
            arrays = cache.get(f"{n:08x}") or cache.put(f"{n:08x}", {"a": np.full(1000, n, np.float32)})
            if not (arrays["a"] == n).all():
                wrong.append(int(n))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.stats.hits + cache.stats.misses == 160


# --- keys and folders


@pytest.mark.parametrize(
    "key", ["", "../../etc/passwd", "ABCDEF0123", "abc", "ab" * 100, KEY + "\n", "xyz" * 8, None, b"ab" * 8]
)
def test_a_key_that_is_not_hex_is_refused_before_it_becomes_a_path(key: Any, tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path)
    with pytest.raises(SettingError, match="hex digits"):
        cache.get(key)
    with pytest.raises(SettingError, match="hex digits"):
        cache.put(key, portrait(1))


def test_a_key_made_of_parts_is_stable() -> None:
    key = cache_key(b"bundle", "portrait", np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert key == "a38785abacc3c39208376742aedde56f8c3d6c3cbec8c4f6ecacc16585c830f5"
    ReferenceCache(None).put(key, portrait(1))


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
    others = data.draw(st.lists(st.text(max_size=5) | st.binary(max_size=5), min_size=1, max_size=4))
    assert (cache_key(*parts) == cache_key(*others)) == (parts == others)


@pytest.mark.parametrize("parts", [(), (1,), (None,), (np.array([None]),)])
def test_parts_that_cannot_be_hashed_are_refused(parts: tuple[Any, ...]) -> None:
    with pytest.raises(SettingError):
        cache_key(*parts)


def test_the_default_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("ECHOEXPORT_CACHE", str(tmp_path / "own"))
    assert default_cache_folder() == tmp_path / "own" / "reference"
    monkeypatch.delenv("ECHOEXPORT_CACHE")
    assert default_cache_folder() == tmp_path / "xdg" / "echoexport" / "reference"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_folder() == tmp_path / "home" / ".cache" / "echoexport" / "reference"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_folder() == tmp_path / "home" / ".cache" / "echoexport" / "reference"


def test_without_a_home_there_is_no_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ECHOEXPORT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_cache_folder() is None
