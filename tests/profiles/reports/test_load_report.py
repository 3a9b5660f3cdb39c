"""A crowd's figures: summed up, written, read back strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echoexport.profiles.reports.load_report import (
    LoadReport,
    describe_load,
    is_load,
    list_load_metrics,
    read_load,
    write_load,
)
from echoexport.runtime.errors import InputError
from echoexport.runtime.serve.load.crowd import CrowdLog
from echoexport.runtime.serve.load.stream import StreamLog


def describe() -> LoadReport:
    steady = StreamLog(
        first_frames=[0.3, 0.4],
        frames=251,
        seconds=10.0,
        late_frames=2,
        worst_late=0.05,
        offsets=[(second / 10, 0.010 + 0.001 * (second > 50)) for second in range(101)],
    )
    broken = StreamLog(first_frames=[0.5], frames=101, seconds=5.0, error="the server stops")
    log = CrowdLog((steady, broken), 3, "no room")
    return describe_load(log, url="http://127.0.0.1:8080", seconds=10)


def test_the_figures_are_those_of_all_streams() -> None:
    report = describe()
    assert report.first_frame_p50 == pytest.approx(0.4)
    assert report.first_frame_p99 == pytest.approx(0.498)
    assert (report.utterances, report.frames, report.late_frames) == (3, 352, 2)
    assert report.fps == (25.0, 20.0)
    assert report.av_offset_worst == pytest.approx(0.011)
    assert report.av_drift == pytest.approx(0.001)
    assert report.errors == ("the server stops",)


def test_a_report_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_load(tmp_path / "load.json", describe())
    assert is_load(tmp_path / "load.json")
    assert read_load(tmp_path / "load.json") == describe()


def test_limits_may_be_set_on_its_figures() -> None:
    metrics = list_load_metrics(describe())
    assert metrics["first_frame.p95"].value == pytest.approx(0.49)
    assert metrics["refused_at"].value == 3
    assert metrics["fps.least"].value == 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "profile"}, "no report of echoexport load"),
        ({"schema": 9}, "load schema 9"),
        ({"frames": "many"}, "frames"),
    ],
)
def test_what_is_no_report_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    place = tmp_path / "load.json"
    write_load(place, describe())
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    with pytest.raises(InputError, match=words):
        read_load(place)


def test_other_files_are_none(tmp_path: Path) -> None:
    for name, content in (("a.json", b"[" * 9000), ("b.json", b"\xff"), ("c.json", b"3")):
        (tmp_path / name).write_bytes(content)
        assert not is_load(tmp_path / name)
    assert not is_load(tmp_path / "missing.json")
