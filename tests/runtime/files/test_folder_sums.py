"""What a library keeps in a folder is removed where it is not as it was left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.files.folder_sums import drop_unproved, prove_files

FILES = {"net.engine": b"e" * 100, "net.profile": b"p", "deep/timings": b"t" * 9}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    prove_files(tmp_path)
    return tmp_path


def left_in(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def test_files_as_they_were_left_stay(folder: Path) -> None:
    assert drop_unproved(folder) == ()
    assert left_in(folder) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_flipped_bit_is_removed_and_named(folder: Path, name: str) -> None:
    content = bytearray(FILES[name])
    place = int(np.random.default_rng(len(name)).integers(8 * len(content)))
    content[place // 8] ^= 1 << (place % 8)
    (folder / name).write_bytes(content)
    assert drop_unproved(folder) == (name,)
    assert left_in(folder) == {other: FILES[other] for other in FILES if other != name}


def test_a_file_that_came_later_is_removed(folder: Path) -> None:
    (folder / "more").write_bytes(b"x")
    assert drop_unproved(folder) == ("more",)
    assert left_in(folder) == FILES


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_without_readable_sums_nothing_is_proved(folder: Path, content: bytes | None) -> None:
    (folder / "checksums").unlink()
    if content is not None:
        (folder / "checksums").write_bytes(content)
    assert sorted(drop_unproved(folder)) == sorted(FILES)
    assert left_in(folder) == {}


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert drop_unproved(tmp_path / "none") == ()
