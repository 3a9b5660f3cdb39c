"""Every command line that is written down is one that the program takes."""

from __future__ import annotations

import click
import pytest
from fixtures.deploy_files import (
    PAGES,
    UNITS,
    Line,
    find_lines,
    lines_of_page,
    lines_of_target,
    parse_line,
    read_unit,
)

from echoexport.runtime.errors import EchoExportError
from echoexport.targets.spec import list_targets

LINES = [
    *(line for page in PAGES for line in lines_of_page(page)),
    *(
        line
        for unit in UNITS
        for line in find_lines({k: v for _, k, v in read_unit(unit)}["ExecStart"], unit.name)
    ),
    *(line for name in list_targets() for line in lines_of_target(name)),
]


@pytest.mark.parametrize(
    "line", LINES, ids=lambda line: f"{line.place}: {' '.join(line.words)}"[:90]
)
def test_the_program_takes_every_command_line_that_is_written_down(line: Line) -> None:
    names = parse_line(line)
    assert names
    assert names == line.words[: len(names)]


def test_command_lines_are_found_where_they_are_written() -> None:
    places = {line.place for line in LINES}
    assert {
        "README.md",
        "jetson.md",
        "echoexport-compile.service",
        "echoexport-render@.service",
        "jetson-orin",
    } <= places
    assert {"compile", "run", "verify", "cache", "doctor", "build"} <= {
        line.words[0] for line in LINES if line.place == "jetson.md"
    }
    assert any("--rollback" in line.words for line in LINES)


@pytest.mark.parametrize(
    "text",
    [
        "echoexport compile bundle/ --bakend tensorrt",
        "sudo /opt/echoexport/bin/echoexport compile bundle --level 9",
        "echoexport cache prune --older",
        "echoexport cache lst",
        "echoexport kompile bundle/",
        "true && echoexport run bundle/ -p a.png -o out.mp4",
        "docker run --rm \\\n  -v a:b echoexport:jetpack-6 compile bundle --outptu x",
    ],
)
def test_a_command_line_with_a_fault_is_refused(text: str) -> None:
    (line,) = find_lines(text, "here")
    with pytest.raises((click.UsageError, EchoExportError)):
        parse_line(line)


def test_only_a_mention_may_leave_arguments_out() -> None:
    assert parse_line(Line("here", ("compile",), mention=True)) == ("compile",)
    with pytest.raises(click.MissingParameter):
        parse_line(Line("here", ("compile",)))
    with pytest.raises(click.UsageError):
        parse_line(Line("here", ("compile", "--bakend"), mention=True))
