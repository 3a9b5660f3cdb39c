"""YAML is read strictly: what is wrong is named by file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echoexport.targets.errors import TargetError
from echoexport.targets.spec import read_target


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
