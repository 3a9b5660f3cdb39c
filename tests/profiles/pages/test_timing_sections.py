"""Sections on time: every mode, network and layer has its row, and absence its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from echoexport.profiles.pages.timing_sections import (
    show_latencies,
    show_layers,
    show_stages,
    show_timeline,
)
from echoexport.profiles.reports.profile import ProfileReport


def test_stages_of_every_mode_are_drawn_and_listed(
    null_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    text = show_stages(null_report)
    page = read_page(text)
    assert page.open == []
    assert page.tags.count("h3") == len(null_report.modes)
    rows = sum(len(mode.stages) for mode in null_report.modes)
    assert page.tags.count("tr") == rows + 1


def test_latencies_are_those_of_networks_frames_the_first_one_and_the_clip(
    null_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    mode = null_report.headline
    page = read_page(show_latencies(replace(null_report, modes=(mode,))))
    assert page.open == []
    assert page.tags.count("tr") == 1 + len(mode.networks) + 3
    assert page.tags.count("svg") == len(mode.networks) + 3
    still = replace(mode, intervals=None)
    text = read_page(show_latencies(replace(null_report, modes=(still,)))).text
    assert "between frames" not in text and "first frame" in text


def test_a_device_s_own_clock_has_a_row_of_its_own(
    null_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    mode = null_report.headline
    first = replace(mode.networks[0], device=mode.networks[0].host)
    timed = replace(mode, networks=(first, *mode.networks[1:]))
    text = read_page(show_latencies(replace(null_report, modes=(timed,)))).text
    assert text.count("the device's clock") == 1


def test_without_spans_there_is_no_time_line(null_report: ProfileReport) -> None:
    assert show_timeline(replace(null_report.headline, timeline=())) == ""
    assert "The busiest second" in show_timeline(null_report.headline)


def test_layers_are_told_network_by_network_or_why_there_are_none(
    null_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    page = read_page(show_layers(null_report))
    assert page.open == []
    assert page.tags.count("details") == len(null_report.layers) > 0
    assert "a<b." in read_page(show_layers(replace(null_report, layers=(), layers_note="a<b"))).text
