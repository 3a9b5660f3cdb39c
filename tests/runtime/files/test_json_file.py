"""The one reader of JSON files: byte order marks pass, and what is no JSON is a ValueError."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echoexport.runtime.files.json_file import parse_json, read_json

ROOT = Path(__file__).parents[3]
ROOMS = ("calibration", "export", "profiles", "runtime", "targets")
_READS = re.compile(r"json\.loads?\([^\n]*\.(read_text|read_bytes|open)\(")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"act_fn": "silu"}\r\n')
    assert read_json(path) == {"act_fn": "silu"}


def test_text_without_one_is_read_as_ever() -> None:
    assert parse_json('{"name": "Zoë \\ud83d\\ude00"}'.encode()) == {"name": "Zoë 😀"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe{\x00}\x00", "codec can't decode"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"name": "\\ud83d"}', "half of a character"),
        (b'{"\\udc00": 1}', "half of a character"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "BOM"),
    ],
    ids=["empty", "UTF-16", "deep", "half a pair", "half a pair as a key", "two marks"],
)
def test_what_is_no_json_is_a_value_error(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(content)


def test_no_room_reads_a_json_file_in_a_way_of_its_own() -> None:
    """But package data and libraries' own files, which no editor has touched."""
    own = {"profiles/modelling/forecast_options.py", "runtime/backends/null.py"}
    own |= {"runtime/backends/ort.py", "runtime/engine/ort_providers.py"}
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if re.search(
            r"json\.loads?\([^\n]*\.(read_text|read_bytes|open)\(", path.read_text("utf-8")
        )
    }
    assert found == own
