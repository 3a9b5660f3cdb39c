"""Charts: shapes as long as what they stand for, and names that cannot break them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from echoexport.profiles.measuring.sensor_log import Series
from echoexport.profiles.modelling.roofline import Roof, Roofline
from echoexport.profiles.pages.profile_charts import (
    draw_histogram,
    draw_key,
    draw_plot,
    draw_series,
    draw_stages,
    draw_timeline,
)
from echoexport.profiles.reports.profile import ProfileReport, TimelineSpan, make_timing


def test_a_key_has_each_name_once_and_escaped() -> None:
    assert draw_key(["a<b", "wait", "a<b"]).count("<li>") == 2
    assert "a&lt;b" in draw_key(["a<b"])


def test_bars_of_a_track_are_as_long_as_its_stages_and_reach_its_end(
    null_report: ProfileReport,
) -> None:
    mode = null_report.modes[-1]
    main = replace(mode, stages=tuple(one for one in mode.stages if one.track == "main"))
    places = [float(x) for x in re.findall(r'x="([0-9.]+)" y="0"', draw_stages(main))]
    ends = [
        1000 * sum(one.share for one in main.stages[: index + 1]) for index in range(len(places))
    ]
    assert places == pytest.approx([0.0, *ends[:-1]], abs=0.01)
    assert ends[-1] == pytest.approx(1000, rel=0.2)


def test_a_span_lies_where_it_ran_and_device_time_has_a_track_of_its_own(
    null_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    spans = (
        TimelineSpan("sample", "sampling", "main", "host", 0.25, 0.5),
        TimelineSpan("gemm", "engine", "main", "device", 0.3, 0.1),
    )
    text = draw_timeline(replace(null_report.headline, timeline=spans))
    assert 'x="250.00" y="0" width="500.00"' in text
    page = read_page(text)
    assert page.open == []
    assert page.tags.count("svg") == 2
    assert "sample: 500 ms" in page.text
    assert "main, the device's clock" in page.text


def test_a_histogram_counts_every_sample_in_its_bin() -> None:
    timing = make_timing(((0.0, 0.0, 0.0, 1.0),))
    assert timing is not None
    text = draw_histogram(timing)
    heights = re.findall(r'x="(\d+)" y="[0-9.]+" width="9" height="([0-9.]+)"', text)
    assert heights == [("0", "29.0"), ("310", "9.7")]  # three in the first bin, one in the last
    alike = make_timing(((2.0, 2.0),))
    assert alike is not None
    assert draw_histogram(alike).count("<rect") == 1


def test_a_line_goes_from_its_least_to_its_largest_value() -> None:
    series = Series("tj<1>", "temperature", "C", "a file", (0.0, 1.0, 2.0), (50.0, 60.0, 55.0))
    text = draw_series(series, lambda value: f"{value:.0f} C")
    assert 'points="0.0,66.0 500.0,6.0 1000.0,36.0"' in text
    assert "temperature, tj&lt;1&gt;: 50 C to 60 C" in text


def test_a_plot_has_a_point_for_each_network_and_a_line_for_each_known_roof(
    full_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    text = draw_plot(full_report.roofline)
    assert text.count("<circle") == len(full_report.roofline.by_probe) == 2
    assert text.count("<path") == 2
    assert read_page(text).open == []
    unknown = Roof(None, None, reason="not tested")
    assert draw_plot(replace(full_report.roofline, peak=unknown)).count("<path") == 1
    assert draw_plot(Roofline(unknown, unknown, (), ())) == ""
