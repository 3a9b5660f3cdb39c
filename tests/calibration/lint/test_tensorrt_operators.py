"""What each line of TensorRT parses: versions, operators, and newer lines that know no less."""

from __future__ import annotations

from itertools import pairwise

import pytest

from echoexport.calibration.lint.tensorrt_operators import LINES, find_line
from echoexport.runtime.contract.operators import PLAIN_OPERATORS
from echoexport.runtime.errors import GraphError
from echoexport.targets.spec import list_targets, load_target


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("10.3", "10.3"),
        ("10.7.0.23", "10.3"),
        ("10.16.2", "10.16"),
        ("11.0", "10.16"),
        ("12", "11.4"),
    ],
)
def test_a_version_is_held_to_the_newest_line_that_is_not_newer(version: str, line: str) -> None:
    assert find_line(version).name == line


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(GraphError, match="'latest': not a version"):
        find_line("latest")


def test_every_tensorrt_of_our_targets_has_rules() -> None:
    versions = {line.tensorrt for name in list_targets() for line in load_target(name).tensorrt}
    assert versions and {find_line(version).name for version in versions} <= set(LINES)


def test_every_operator_that_we_allow_is_parsed_by_every_line() -> None:
    assert [
        name for name in PLAIN_OPERATORS for line in LINES.values() if line.find_types(name) is None
    ] == []


def test_a_newer_line_parses_whatever_an_older_one_does() -> None:
    lines = list(LINES.values())
    names = [*PLAIN_OPERATORS, "Attention", "STFT", "GroupNormalization", "Pad"]
    for older, newer in pairwise(lines):
        assert newer.opset >= older.opset
        assert all((newer.find_types(n) or set()) >= (older.find_types(n) or set()) for n in names)


def test_an_operator_that_came_later_is_known_from_its_line_on() -> None:
    assert [line.find_types("Attention") is None for line in LINES.values()] == [True, False, False]
    assert all(line.find_types("Unique") is None for line in LINES.values())


def test_a_line_is_called_by_its_version() -> None:
    assert [line.name for line in LINES.values()] == list(LINES)
