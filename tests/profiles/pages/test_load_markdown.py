"""Reports of crowds side by side: shares where they say something, else differences."""

from __future__ import annotations

from dataclasses import replace

from echoexport.profiles.pages.load_markdown import format_load, format_load_comparison
from echoexport.profiles.reports.load_report import LoadReport, describe_load
from echoexport.runtime.serve.load.crowd import CrowdLog
from echoexport.runtime.serve.load.stream import StreamLog


def describe() -> LoadReport:
    stream = StreamLog([0.4], 101, 4.0, offsets=[(0.1, -0.01), (4.0, -0.01)])
    return describe_load(CrowdLog((stream,), None, ""), url="http://a:1", seconds=4)


def test_one_report_says_who_was_let_in() -> None:
    text = format_load(describe())
    assert "| first_frame.p50 | 400 ms |" in text
    assert "| fps of each | 25.00 |" in text
    assert "1 sessions were let in, and none was refused" in text


def test_changes_are_shares_and_about_zero_differences() -> None:
    other = replace(
        describe(), first_frame_p50=0.5, av_drift=0.002, refused_at=2, refused_because="no room"
    )
    text = format_load_comparison([describe(), other], ["before", "after"])
    assert "| first_frame.p50 | 400 ms | 500 ms | +25.0 % |" in text
    assert "| av_drift | 0.0 ms | 2.0 ms | +2.0 ms |" in text
    assert "| refused_at |  | 2 |  |" in text
    assert "* after: session 2 was refused: no room" in text
