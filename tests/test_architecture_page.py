"""docs/architecture.md draws the house as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("targets", "runtime", "profiles", "calibration", "export")
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
QUESTIONS = (
    "which backend will run, and why",
    "where caches lie",
    "where a portrait is cropped",
    "where windows are laid",
    "where int8 layers are chosen",
)


def section_of(page: str, title: str) -> str:
    """What stands under a heading, up to the next one of its rank."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def fence_of(text: str) -> list[str]:
    """The lines of the one fence in a text."""
    (fence,) = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return fence.splitlines()


def read_tree(lines: list[str]) -> dict[str, str]:
    """Folders that a drawn tree names, by indentation, each with what is said of it."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in lines:
        row = re.fullmatch(r"( *)(\w+)/ +(\S.*)", line)
        assert row is not None, line
        above = [*above[: len(row[1]) // 2], row[2]]
        found["/".join(above)] = row[3]
    return found


def list_wings() -> set[str]:
    """Rooms, their packages and their data folders, as they are."""
    packages = {path.parent for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    data = {folder / "data" for folder in packages if (folder / "data").is_dir()}
    return {path.relative_to(ROOT).as_posix() for path in packages | data}


def read_answers(page: str) -> dict[str, tuple[str, str]]:
    """Question to folder and file."""
    rows = re.findall(
        r"^\| ([^|`]+) \| `(\S+)` \| `(\S+)` \|$", section_of(page, r"Where is \.\.\."), re.M
    )
    return {question: (folder, file) for question, folder, file in rows}


def test_every_wing_that_exists_is_drawn_and_every_wing_that_is_drawn_exists() -> None:
    assert set(read_tree(fence_of(section_of(PAGE, "The tree")))) == list_wings()


def test_each_wing_is_drawn_once_and_said_to_be_for_something_of_its_own() -> None:
    lines = fence_of(section_of(PAGE, "The tree"))
    told = read_tree(lines)
    assert len(told) == len(lines)
    assert len(set(told.values())) == len(told)


def test_a_tree_is_read_by_its_indentation() -> None:
    lines = ["a/     one", "  b/   two", "    c/ three", "  d/   four", "e/     five"]
    assert list(read_tree(lines)) == ["a", "a/b", "a/b/c", "a/d", "e"]


def test_every_wing_of_the_runtime_stands_on_one_floor() -> None:
    floors = " ".join(fence_of(section_of(PAGE, "Who may import whom"))).split()
    wings = {wing.split("/")[1] for wing in list_wings() if wing.startswith("runtime/")}
    assert sorted(floors) == sorted(wings)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_stranger_finds_in_two_hops(question: str) -> None:
    folder, file = read_answers(PAGE)[question]
    assert folder.count("/") == 2
    assert Path(file).parent == Path(folder)
    assert (ROOT / file).is_file()
    assert folder.strip("/") in list_wings()


def test_there_is_an_answer_to_every_question_and_to_no_other() -> None:
    assert tuple(read_answers(PAGE)) == QUESTIONS


@pytest.mark.parametrize("walk", ["A portrait", "A voice", "A checkpoint"])
def test_a_walk_goes_through_files_that_exist(walk: str) -> None:
    found = re.search(rf"^### {walk}\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    files = re.findall(r"`([\w/]+\.py)`", found[1])
    assert len(files) >= 5
    assert [file for file in files if not (ROOT / file).is_file()] == []
