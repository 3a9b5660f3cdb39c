"""The page as a test: how long lines, functions and files are, and what stands on no line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("calibration", "export", "profiles", "runtime", "targets")
ELSEWHERE = "tests/reference"  # of another project, kept as it came

LONGEST_LINE = 100
USUAL_LINE = 88  # what nine lines in ten keep to
USUAL_FUNCTION = 24  # lines; what nine functions in ten keep to
WORD = re.compile(r"  # (?:type: ignore|noqa)")  # to a checker
LONGEST_FILE = 400
LINES_FOR_A_PAIR = 1000  # so many lines for one parallel assignment


def sources_of(*folders: str) -> dict[str, str]:
    """Our files by place."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    places = {path.relative_to(ROOT).as_posix(): path for path in paths}
    return {
        place: path.read_text("utf-8")
        for place, path in places.items()
        if not place.startswith(ELSEWHERE)
    }


@pytest.fixture(scope="module")
def rooms() -> dict[str, str]:
    return sources_of(*ROOMS)


@pytest.fixture(scope="module")
def everything() -> dict[str, str]:
    return sources_of(*ROOMS, "tests")


def find_usual(lengths: Sequence[int]) -> int:
    """What nine in ten do not pass."""
    return sorted(lengths)[int(0.9 * len(lengths))]


def find_long_lines(source: str) -> list[int]:
    """Numbers of the lines that are longer than a page is wide, a word to a checker left out."""
    lines = enumerate(source.splitlines(), start=1)
    return [number for number, line in lines if len(WORD.split(line)[0]) > LONGEST_LINE]


def measure_functions(source: str) -> Iterator[int]:
    """Lines of every function, from ``def`` to its end."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def find_pairs(source: str) -> list[int]:
    """Lines that assign several values to several names at once; a swap is none."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            values = {ast.unparse(value) for value in node.value.elts}
            for target in node.targets:
                if isinstance(target, ast.Tuple):
                    names = {ast.unparse(name) for name in target.elts}
                    found += [node.lineno] if names != values else []
    return found


def test_no_line_is_wider_than_the_page(everything: dict[str, str]) -> None:
    assert [
        f"{place}:{line}"
        for place, source in everything.items()
        for line in find_long_lines(source)
    ] == []


def test_nine_lines_in_ten_are_shorter_still(rooms: dict[str, str]) -> None:
    lines = [line for source in rooms.values() for line in source.splitlines() if line.strip()]
    assert find_usual([len(line) for line in lines]) <= USUAL_LINE


def test_the_formatter_is_never_told_to_leave_a_line(everything: dict[str, str]) -> None:
    marker = "# fmt" + ":"
    assert [place for place, source in everything.items() if marker in source] == []


def test_hardly_a_line_assigns_in_parallel(rooms: dict[str, str]) -> None:
    pairs = [f"{place}:{line}" for place, source in rooms.items() for line in find_pairs(source)]
    lines = sum(source.count("\n") for source in rooms.values())
    assert len(pairs) <= lines / LINES_FOR_A_PAIR, pairs


def test_nine_functions_in_ten_fit_a_screen(rooms: dict[str, str]) -> None:
    lengths = [length for source in rooms.values() for length in measure_functions(source)]
    assert find_usual(lengths) <= USUAL_FUNCTION


def test_no_file_is_too_long_to_read(everything: dict[str, str]) -> None:
    lengths = {place: source.count("\n") for place, source in everything.items()}
    assert {place: lines for place, lines in lengths.items() if lines > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("a, b = 1, 2", [1]),
        ("x = 1\n(a, b) = c, d", [2]),
        ("def f():\n    self.a, self.b = a, b", [2]),
        ("a, b = b, a", []),
        ("a, b = pair", []),
        ("for a, b in pairs: pass", []),
        ("a = 1, 2", []),
    ],
)
def test_an_assignment_in_parallel_is_told_from_a_swap(source: str, lines: list[int]) -> None:
    assert find_pairs(source) == lines


def test_the_measures_see_what_is_too_long() -> None:
    assert find_long_lines("short\n" + "x" * 100 + "\n" + "x" * 101) == [3]
    assert find_long_lines("x" * 99 + "  # noqa: E501\n" + "x" * 101 + "  # type: ignore") == [2]
    assert list(measure_functions("def f():\n    a = 1\n    return a\n")) == [3]
    assert find_usual([1] * 9 + [50]) == 50
    assert find_usual([1] * 10 + [50]) == 1
