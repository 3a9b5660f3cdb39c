"""YAML is read strictly: what is wrong is named by file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echoexport.targets.errors import TargetError
from echoexport.targets.spec import read_target
from echoexport.targets.strict_yaml import Table, parse_table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "line 2: key 'name' is given twice"),
        ("name: [a\n", "line 2"),
        ("- a\n- b\n", "the file must be a mapping"),
        ("", "the file must be a mapping"),
        ("name: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "plain word"),
        ("? [a]\n: b\n", "plain word"),
        ("name: 2024-99-99\n", "not YAML text"),
        ("name: \x00\n", "not YAML text"),
    ],
)
def test_text_that_is_no_plain_mapping_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(TargetError, match=f"mine.yaml: .*{re.escape(said)}"):
        read_target(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(TargetError, match="not YAML text"):
        read_target(path)


def test_a_file_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(TargetError, match="larger than"):
        read_target(path)


def table_of(text: str) -> Table:
    return parse_table(text.encode(), "mine.yaml")


def test_a_key_is_given_out_once() -> None:
    table = table_of("name: one\n")
    assert table.holds("name")
    assert table.text("name") == "one"
    assert not table.holds("name")
    with pytest.raises(TargetError, match=r"^mine\.yaml: name is missing$"):
        table.text("name")


def test_what_nobody_asked_for_is_unknown() -> None:
    table = table_of("name: one\ncolour: blue\n")
    table.text("name")
    with pytest.raises(TargetError, match=r"^mine\.yaml: colour is an unknown key$"):
        table.finish()


def test_an_inner_key_is_named_by_the_way_to_it() -> None:
    inner = table_of("list:\n- a: 1\n- b: {c: 2}\n").tables("list")[1].table("b")
    with pytest.raises(TargetError, match=r"^mine\.yaml: list\[1\]\.b\.c must be one of x, y, not"):
        inner.choice("c", ("x", "y"))


@pytest.mark.parametrize("text", ["name: 8.7\n", "name: ' padded'\n", "name: ''\n", "name: [a]\n"])
def test_text_is_one_line_of_words(text: str) -> None:
    with pytest.raises(TargetError, match="name must be one line of text"):
        table_of(text).text("name")


def test_a_value_that_does_not_fit_is_shown_with_what_would() -> None:
    with pytest.raises(TargetError, match=r"frames must be an even number, not 3$"):
        table_of("frames: 3\n").value("frames", lambda value: value % 2 == 0, "an even number")
