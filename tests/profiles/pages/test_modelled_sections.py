"""Sections on models: every network under the roofs, every option and board, or why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from echoexport.profiles.pages.modelled_sections import show_forecast, show_roofline
from echoexport.profiles.reports.profile import ProfileReport


def test_each_network_has_its_row_and_both_roofs_their_line(
    full_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    page = read_page(show_roofline(full_report.roofline))
    assert page.open == []
    assert page.tags.count("tr") == 1 + len(full_report.roofline.by_probe)
    assert page.text.count("2000 GFLOP/s, 200 GB/s (a data sheet)") == 2


def test_a_roof_that_is_not_known_says_why(full_report: ProfileReport) -> None:
    probe = replace(full_report.roofline.probe, compute=None, bandwidth=None, source="")
    unknown = replace(probe, reason="nobody tested it")
    text = show_roofline(replace(full_report.roofline, probe=unknown))
    assert "This device, tested: not known (nobody tested it)." in text


def test_a_roofline_that_is_none_says_why(full_report: ProfileReport) -> None:
    text = show_roofline(replace(full_report.roofline, note="no <work>"))
    assert text == '<h2>Roofline</h2>\n<p class="soft">no &lt;work&gt;.</p>'


def test_options_and_boards_are_told_with_their_pace_and_their_cost_or_reason(
    full_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    page = read_page(show_forecast(full_report.forecast))
    assert page.open == []
    assert "2 steps15 fps30 fps21 fpsyes49.9 dB, SSIM 0.999, lips -0.002" in page.text
    assert "less6 fps12 fps8 fpsnonot measured" in page.text
    assert "Anynot knownnot knownnot knownunknowndiffers" in page.text
    assert "Engines reach 30 to 60 % of a peak; this bundle reached 40 % here." in page.text


def test_a_forecast_that_is_none_says_why(full_report: ProfileReport) -> None:
    text = show_forecast(replace(full_report.forecast, note="no work"))
    assert text == '<h2>Other boards, modelled</h2>\n<p class="soft">no work.</p>'
