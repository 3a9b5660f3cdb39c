"""A bundle is written aside and takes its place when it is whole.

Nothing that is not a bundle is ever replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.export.output_folder import check_bundle_place, written_aside
from echoexport.runtime import open_bundle
from echoexport.runtime.errors import OutputError
from echoexport.runtime.files import aside

HIDDEN = ".*"


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def write(output: Path, text: str = "new") -> None:
    with written_aside(output) as folder:
        (folder / "file").write_text(text)


def test_what_was_written_takes_its_place_and_nothing_else_stays(tmp_path: Path) -> None:
    write(tmp_path / "bundle")
    assert listing(tmp_path) == {"bundle/file": b"new"}


def test_until_it_is_whole_the_output_does_not_exist(tmp_path: Path) -> None:
    with written_aside(tmp_path / "bundle") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".")
        assert not (tmp_path / "bundle").exists()


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "bundle")
    assert (tmp_path / "a/b/bundle/file").is_file()


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    write(tmp_path / "bundle")
    assert listing(tmp_path) == {"bundle/file": b"new"}


def test_an_old_bundle_is_replaced(null_bundle: Path) -> None:
    write(null_bundle)
    assert listing(null_bundle.parent) == {"null-bundle/file": b"new"}


def test_the_old_bundle_is_there_and_whole_until_the_end(null_bundle: Path) -> None:
    before = listing(null_bundle)
    with written_aside(null_bundle) as folder:
        (folder / "file").write_text("new")
        open_bundle(null_bundle).close()
        assert listing(null_bundle) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_a_build_that_ends_early_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), written_aside(tmp_path / "bundle") as folder:
        (folder / "file").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_build_that_ends_early_leaves_the_old_bundle_as_it_was(
    null_bundle: Path, error: type[BaseException]
) -> None:
    before = listing(null_bundle.parent)
    with pytest.raises(error), written_aside(null_bundle) as folder:
        (folder / "file").write_text("half")
        raise error
    assert listing(null_bundle.parent) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_failing_between_the_two_renames_puts_the_old_bundle_back(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = listing(null_bundle.parent)
    rename = Path.rename

    def fail_for_the_new(self: Path, target: Path) -> Path:
        if ".part-" in self.name:
            raise error
        return rename(self, target)

    monkeypatch.setattr(aside, "exchange_names", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises((KeyboardInterrupt, OutputError)), written_aside(null_bundle):
        pass
    assert listing(null_bundle.parent) == before


def test_what_a_killed_build_left_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / f".bundle.part-{os.getpid()}").mkdir()
    write(tmp_path / "bundle")
    assert (tmp_path / "bundle/file").is_file()


def test_a_link_is_followed_and_stays_a_link(null_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(null_bundle)
    write(tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert listing(null_bundle) == {"file": b"new"}


def test_a_link_to_nowhere_yet_leads_to_the_new_bundle(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(tmp_path / "version-1")
    write(tmp_path / "latest")
    assert listing(tmp_path / "version-1") == {"file": b"new"}


def test_the_working_folder_can_be_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path())
    assert listing(tmp_path) == {"here/file": b"new"}


def test_a_file_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("mine")
    with pytest.raises(OutputError, match=r"bundle: is a file; name a folder"):
        write(tmp_path / "bundle")
    assert listing(tmp_path) == {"bundle": b"mine"}


def manifest_of_an_extension(folder: Path) -> None:
    (folder / "manifest.json").write_text(
        json.dumps({"manifest_version": 3, "name": "a browser's extension"})
    )


def manifest_that_is_no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def some_other_file(folder: Path) -> None:
    (folder / "thesis.tex").write_text("years of work")


@pytest.mark.parametrize(
    "fill", [manifest_of_an_extension, manifest_that_is_no_json, some_other_file]
)
def test_a_folder_with_other_things_in_it_is_refused_and_stays(
    tmp_path: Path, fill: Callable[[Path], None]
) -> None:
    (tmp_path / "bundle").mkdir()
    fill(tmp_path / "bundle")
    before = listing(tmp_path)
    with pytest.raises(
        OutputError, match=r"bundle: a folder with other things in it; name a new folder"
    ):
        write(tmp_path / "bundle")
    assert listing(tmp_path) == before


def test_a_bundle_that_something_was_put_into_is_refused_with_that_things_name(
    null_bundle: Path,
) -> None:
    (null_bundle / "talk.mp4").write_bytes(b"a film")
    before = listing(null_bundle)
    with pytest.raises(
        OutputError, match=r"talk\.mp4: not a part of the old bundle, which would be replaced; move"
    ):
        write(null_bundle)
    assert listing(null_bundle) == before


def test_a_bundle_of_another_release_may_be_replaced(null_bundle: Path) -> None:
    path = null_bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99, "new": "key"}))
    check_bundle_place(null_bundle)
    write(null_bundle)
    assert listing(null_bundle.parent) == {"null-bundle/file": b"new"}


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"bundle: cannot write the bundle: Not a directory"):
        write(tmp_path / "file" / "bundle")


def test_a_folder_without_permission_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", deny)
    with pytest.raises(OutputError, match=r"bundle: cannot write the bundle: Permission denied"):
        write(tmp_path / "bundle")


def test_a_loop_of_links_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match=r"cannot write the bundle: "):
        write(tmp_path / "a")


def test_what_others_put_in_the_place_while_the_bundle_was_written_stays(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="a folder with other things in it"),
        written_aside(tmp_path / "out") as folder,
    ):
        (folder / "file").write_text("new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("years of work")
    assert listing(tmp_path) == {"out/thesis.txt": b"years of work"}
