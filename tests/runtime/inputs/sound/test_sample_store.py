"""A voice's samples come back as they were given, from memory or from a file."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.inputs.sound import sample_store
from echoexport.runtime.inputs.sound.sample_store import SampleStore


def draw_samples(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(-32768, 32768, count).astype(np.int16)


def fill(samples: np.ndarray, *, part: int) -> SampleStore:
    store = SampleStore()
    for start in range(0, len(samples), part):
        store.add(samples[start : start + part])
    return store


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that holds 100 bytes in memory, and writes 40 at once."""
    monkeypatch.setattr(sample_store, "_IN_MEMORY", 100)
    monkeypatch.setattr(sample_store, "_BLOCK", 40)


def count_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@given(
    count=st.integers(0, 400),
    part=st.integers(1, 90),
    start=st.integers(0, 420),
    length=st.integers(0, 420),
)
def test_any_stretch_is_what_was_added_wherever_it_lies(
    count: int, part: int, start: int, length: int
) -> None:
    samples = draw_samples(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_store, "_IN_MEMORY", 100)
        patch.setattr(sample_store, "_BLOCK", 40)
        store = fill(samples, part=part)
    assert len(store) == count
    found = store.read(start, start + length)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found * 32768, samples[start : start + length])
    # what comes last may fill it without being too much
    assert store.in_memory or count * 2 > 100


def test_a_few_minutes_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    store = fill(draw_samples(5 * 60 * 16_000), part=16_000)
    assert store.in_memory


@pytest.mark.usefixtures("small_memory")
def test_the_file_has_no_name_and_goes_with_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = count_open_files()
    store = fill(draw_samples(500), part=30)
    assert not store.in_memory
    assert list(tmp_path.iterdir()) == []
    assert count_open_files() == before + 1
    del store
    gc.collect()
    assert count_open_files() == before


class FullDisk:
    """A file that takes 64 bytes in all."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed as the store is
        self.room = 64

    def write(self, data: bytearray) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        count = self.file.write(data[: self.room])
        self.room -= count
        return count

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


@pytest.mark.usefixtures("small_memory")
def test_what_a_full_disk_does_not_take_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk()
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: disk)
    samples = draw_samples(500)
    store = fill(samples, part=30)
    assert disk.room == 0
    np.testing.assert_array_equal(store.read(0, 500) * 32768, samples)
    np.testing.assert_array_equal(store.read(20, 50) * 32768, samples[20:50])


@pytest.mark.usefixtures("small_memory")
def test_without_a_folder_for_temporary_files_all_stays_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**_: Any) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    samples = draw_samples(500)
    store = fill(samples, part=30)
    np.testing.assert_array_equal(store.read(0, 500) * 32768, samples)
