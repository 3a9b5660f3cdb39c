"""A profile as data: its JSON comes back as it was, and another file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.reports.profile import (
    ProfileReport,
    format_profile_json,
    make_timing,
    read_profile,
)
from echoexport.runtime.errors import InputError


def test_a_report_comes_back_from_json_as_it_was(
    null_report: ProfileReport, tmp_path: Path
) -> None:
    (tmp_path / "report.json").write_text(format_profile_json(null_report), encoding="utf-8")
    assert read_profile(tmp_path / "report.json") == null_report


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 99}, "profile schema 99"),
        ({"kind": "other"}, "not a profile"),
        ({"extra": 1}, "unknown key"),
        ({"modes": []}, "without a mode"),
        ({"bundle": None}, "wanted an object"),
    ],
)
def test_another_file_is_refused_in_one_line(
    null_report: ProfileReport, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    data = json.loads(format_profile_json(null_report)) | change
    (tmp_path / "report.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=told) as error:
        read_profile(tmp_path / "report.json")
    assert "report.json" in str(error.value)


@pytest.mark.parametrize("content", ["", "[1", "[]", "null"])
def test_what_is_no_json_of_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=r"report\.json: not"):
        read_profile(tmp_path / "report.json")


def test_a_thousand_samples_of_a_repeat_are_kept_the_first_and_the_last_among_them() -> None:
    timing = make_timing((tuple(float(index) for index in range(5000)), (1.0,)))
    assert timing is not None
    assert [len(repeat) for repeat in timing.samples] == [1000, 1]
    assert (timing.samples[0][0], timing.samples[0][-1]) == (0.0, 4999.0)
