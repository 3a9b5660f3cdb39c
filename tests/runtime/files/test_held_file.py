"""A held file is what was opened: nothing else is read, and what changes is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.errors import BundleError
from echoexport.runtime.files.held_file import HeldFile

CONTENT = np.random.default_rng(7).bytes((1 << 20) + 123)


def hold(folder: Path, name: str = "weights.bin", content: bytes = CONTENT) -> HeldFile:
    return HeldFile(folder, name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights.bin").write_bytes(CONTENT)
    return tmp_path


def test_its_content_is_the_files(folder: Path) -> None:
    with hold(folder) as file:
        file.check()
        assert file.content() == CONTENT
        assert file.pinned.read_bytes() == CONTENT
        assert not file.has_changed()


def test_an_empty_file_has_an_empty_content(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    with hold(tmp_path, content=b"") as file:
        assert file.content() == b""


def test_other_bytes_of_the_same_size_are_refused(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(CONTENT[::-1])
    with hold(folder) as file:
        for look in (file.check, file.content):
            with pytest.raises(BundleError, match=r"weights\.bin: sha256 is [0-9a-f]{64}, the ma"):
                look()


def test_another_size_is_refused_before_anything_is_read(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"weights\.bin: 1048699 bytes, the manifest says 3"):
        hold(folder, content=b"abc")


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (make_link, "is a symbolic link"),
        (make_pipe, "no plain file"),
        (Path.unlink, "missing; build or copy"),
    ],
)
def test_what_is_no_plain_file_is_refused_by_name(
    folder: Path, change: Callable[[Path], object], words: str
) -> None:
    change(folder / "weights.bin")
    with pytest.raises(BundleError, match=rf"weights\.bin: {words}"):
        hold(folder)


def test_a_linked_folder_within_is_refused(folder: Path) -> None:
    (folder / "inner").symlink_to(folder)
    with pytest.raises(BundleError, match=r"inner/weights\.bin: "):
        hold(folder, "inner/weights.bin")


def test_a_file_of_a_folder_within_is_held(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "weights.bin").rename(folder / "inner" / "weights.bin")
    with hold(folder, "inner/weights.bin") as file:
        assert file.content() == CONTENT


def test_a_file_that_is_cut_while_it_is_held_is_refused(folder: Path) -> None:
    with hold(folder) as file:
        os.truncate(folder / "weights.bin", 1 << 20)
        assert file.has_changed()
        with pytest.raises(BundleError, match=r"weights\.bin: was cut while it was read"):
            file.check()


def test_content_that_was_read_stays_as_it_was(folder: Path) -> None:
    with hold(folder) as file:
        content = file.content()
        os.truncate(folder / "weights.bin", 0)
    assert content == CONTENT


def test_a_file_in_its_place_is_noticed_and_not_read(folder: Path) -> None:
    with hold(folder) as file:
        (folder / "other").write_bytes(bytes(len(CONTENT)))
        (folder / "other").replace(folder / "weights.bin")
        assert file.has_changed()
        assert file.was_replaced()
        assert file.content() == CONTENT


def test_its_pinned_path_stays_in_its_folder_whatever_is_renamed(folder: Path) -> None:
    with hold(folder) as file:
        folder.rename(folder.with_name("away"))
        folder.mkdir()
        (folder / "weights.bin").write_bytes(b"other")
        assert file.pinned.read_bytes() == CONTENT


def test_a_file_that_is_let_go_leaves_no_descriptor(folder: Path) -> None:
    before = count_descriptors()
    with hold(folder):
        assert count_descriptors() == before + 2
    with pytest.raises(BundleError):
        hold(folder, content=b"abc")
    assert count_descriptors() == before


def test_a_thread_that_hashes_it_ends_where_it_is_told_to(tmp_path: Path) -> None:
    content = bytes(1 << 28)
    (tmp_path / "weights.bin").write_bytes(content)
    with hold(tmp_path, content=content) as file, ThreadPoolExecutor(1) as aside:
        hashing = aside.submit(file.check)
        file.stop_reading()
        with pytest.raises(BundleError, match=r"weights\.bin: is not needed any more"):
            hashing.result()
