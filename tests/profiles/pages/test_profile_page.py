"""The profile's page.

Whole HTML that asks for nothing, legible on a phone and a desk, light and dark.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.measuring.sensors import NOT_AVAILABLE
from echoexport.profiles.pages.profile_markdown import format_markdown
from echoexport.profiles.pages.profile_page import format_profile_page
from echoexport.profiles.reports.profile import ProfileReport

MOST_BYTES = 1_500_000


def test_the_page_is_whole_small_and_asks_for_nothing(
    full_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    text = format_profile_page(full_report)
    page = read_page(text)
    assert page.open == []
    assert len(text.encode()) < MOST_BYTES
    assert not set(page.tags) & {"script", "link", "iframe", "object", "base"}
    for name, value in page.attributes:
        assert name not in ("href", "srcset", "action") and not name.startswith("on")
        assert name != "src" or value.startswith("data:image/")
    assert not re.search(r"url\(|@import|https?://", text)


def test_the_verdict_comes_first_and_every_section_follows(full_report: ProfileReport) -> None:
    text = format_profile_page(full_report)
    heads = re.findall(r"<h[12]>(.*?)</h[12]>", text)
    assert re.sub("<.*?>", "", heads[0]) == full_report.verdict.line
    assert heads[1:] == [
        "Stages",
        "Time line of a second",
        "Latencies",
        "Layers",
        "Roofline",
        "What to change, modelled",
        "Memory, power, clocks and heat",
        "Quality",
        "Conditions",
    ]


def test_names_are_escaped(full_report: ProfileReport) -> None:
    text = format_profile_page(full_report)
    assert "a&lt;b&gt;&amp;c" in text
    assert "a<b>" not in text and "A <board>" not in text


def test_what_the_device_does_not_show_is_said_to_be_missing_and_is_no_zero(
    full_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    text = read_page(format_profile_page(full_report)).text
    assert (
        f"energy of all repeats{NOT_AVAILABLE}" in text or full_report.headline.sensors.energy.value
    )
    assert "temperature, tj: 50 C to 61.5 C" in text
    assert (
        f"| energy | {NOT_AVAILABLE} |" in format_markdown(full_report)
        or full_report.headline.sensors.energy.value
    )


def test_every_network_stage_and_board_is_told(
    full_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    text = read_page(format_profile_page(full_report)).text
    for mode in full_report.modes:
        assert all(network.name in text for network in mode.networks)
        assert all(stage.name in text for stage in mode.stages)
    assert (
        "A <board>" in text
        and "2 steps" in text
        and "49.9 dB" in text
        and "Modelled, not measured" in text
    )


def test_a_page_without_layers_roofline_forecast_and_quality_says_why(
    null_report: ProfileReport, read_page: Callable[[str], Any]
) -> None:
    bare = replace(null_report, layers=(), layers_note="not asked for: --layers times them")
    text = read_page(format_profile_page(bare)).text
    assert "not asked for: --layers times them." in text
    assert text.count("work is not stored in this bundle") >= 2
    assert "brings no quality report" in text


def test_the_same_report_gives_the_same_page(full_report: ProfileReport) -> None:
    assert format_profile_page(full_report) == format_profile_page(full_report)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1600])
def test_the_page_fits_a_phone_and_a_desk_and_a_browser_has_nothing_to_say(
    full_report: ProfileReport, tmp_path: Path, width: int, scheme: str
) -> None:
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        pytest.skip("no chromium is installed")
    (tmp_path / "page.html").write_text(format_profile_page(full_report), encoding="utf-8")
    # a headless window is 500 pixels wide at least; a frame is as narrow as it is told
    # to be
    (tmp_path / "probe.html").write_text(
        f'<iframe src="page.html" width="{width}" height="900" style="border:0"></iframe>'
        '<p id="found"></p>'
        "<script>onload = () => { const w = document.querySelector('iframe').contentWindow, d "
        "= w.document;"
        "document.getElementById('found').textContent = `${d.documentElement.clientWidth} "
        "${d.documentElement.scrollWidth} ${w.performance.getEntriesByType('resource').filter("
        "(e) => !e.name.startsWith('data:')).length} "
        "${w.getComputedStyle(d.body).backgroundColor}`; }</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--dump-dom",
        "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={max(width, 500)},1000",
    ]
    done = subprocess.run(
        [browser, *flags, (tmp_path / "probe.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'id="found">(\d+) (\d+) (\d+) rgb\((\d+)', done.stdout)
    assert found is not None, done.stdout[-500:]
    own, needed, requests, paper = map(int, found.groups())
    assert needed <= own <= width
    assert requests == 0
    assert (paper < 100) == (scheme == "dark")
    assert ":CONSOLE" not in done.stderr
