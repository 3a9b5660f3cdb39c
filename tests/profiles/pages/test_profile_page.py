"""The profile's page.

Whole HTML that asks for nothing, legible on a phone and a desk, light and dark.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from echoexport.profiles.measuring.sensor_log import Series
from echoexport.profiles.measuring.sensors import NOT_AVAILABLE
from echoexport.profiles.modelling.forecast import (
    FORMULA,
    BoardForecast,
    Forecast,
    OptionForecast,
    QualityCost,
)
from echoexport.profiles.modelling.roofline import Roof, Roofline, place_network
from echoexport.profiles.pages.profile_markdown import format_markdown, format_rows
from echoexport.profiles.pages.profile_page import format_profile_page
from echoexport.profiles.quality.report import Strip, StripRow
from echoexport.profiles.reports.profile import ProfileReport, QualityExcerpt
from echoexport.profiles.reports.verdict import find_remedies
from echoexport.runtime.contract.network_work import NetworkWork, Work

MOST_BYTES = 1_500_000
VOID = {"meta", "img", "br", "link"}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="


class Page(HTMLParser):
    """Checks that what is opened is closed in order, and gathers text and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture
def full_report(null_report: ProfileReport) -> ProfileReport:
    """The null bundle's profile with every section, and names that want escaping."""
    roof = Roof(2e12, 2e11, None, source="a data sheet")
    works = {"denoising_unet": (8e9, 4e8, 0.01), "vae_decoder": (5e8, 4e8, 0.02)}
    placed = tuple(
        place_network(
            name,
            NetworkWork({"up/convolution": Work(int(flops), weight_bytes=int(moved))}),
            seconds,
            roof=roof,
        )
        for name, (flops, moved, seconds) in works.items()
    )
    cost = QualityCost(49.9, 0.999, -0.002, "")
    forecast = Forecast(
        FORMULA,
        (0.3, 0.6),
        0.4,
        None,
        (
            BoardForecast("cpu", "A <board>", "fp16", 5.0, 10.0, 7.0, "compute", "no"),
            BoardForecast(
                "rtx", "Any", "fp16", None, None, None, "unknown", "unknown", reason="differs"
            ),
        ),
        (
            OptionForecast("2 steps", 15.0, 30.0, 21.0, "yes", cost),
            OptionForecast(
                "less", 6.0, 12.0, 8.0, "no", QualityCost(None, None, None, "not measured")
            ),
        ),
        "cpu",
    )
    mode = null_report.headline
    heat = Series("tj", "temperature", "C", "/sys", (0.0, 1.0, 2.0), (50.0, 61.5, 55.0))
    mode = replace(mode, sensors=replace(mode.sensors, series=(*mode.sensors.series, heat)))
    strip = Strip("one", (1, 2), False, (StripRow("int8", PIXEL, 640, 64),))
    return replace(
        null_report,
        bundle=replace(null_report.bundle, name="a<b>&c"),
        modes=(mode, *null_report.modes[1:]),
        roofline=Roofline(roof, roof, placed, placed),
        forecast=forecast,
        quality=QualityExcerpt("int8 holds", strip),
    )


def test_the_page_is_whole_small_and_asks_for_nothing(full_report: ProfileReport) -> None:
    text = format_profile_page(full_report)
    page = Page(text)
    assert page.open == []
    assert len(text.encode()) < MOST_BYTES
    assert not page.tags & {"script", "link", "iframe", "object", "base"}
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
    full_report: ProfileReport,
) -> None:
    text = Page(format_profile_page(full_report)).text
    assert (
        f"energy of all repeats{NOT_AVAILABLE}" in text or full_report.headline.sensors.energy.value
    )
    assert "temperature, tj: 50 C to 61.5 C" in text
    assert (
        f"| energy | {NOT_AVAILABLE} |" in format_markdown(full_report)
        or full_report.headline.sensors.energy.value
    )


def test_every_network_stage_and_board_is_told(full_report: ProfileReport) -> None:
    text = Page(format_profile_page(full_report)).text
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
    null_report: ProfileReport,
) -> None:
    bare = replace(null_report, layers=(), layers_note="not asked for: --layers times them")
    text = Page(format_profile_page(bare)).text
    assert "not asked for: --layers times them." in text
    assert text.count("work is not stored in this bundle") >= 2
    assert "brings no quality report" in text


def test_the_same_report_gives_the_same_page(full_report: ProfileReport) -> None:
    assert format_profile_page(full_report) == format_profile_page(full_report)


def test_remedies_are_the_measured_pace_times_the_models_gain(full_report: ProfileReport) -> None:
    found = find_remedies(full_report.forecast, fps=9.0, wanted=25.0)
    assert found == ("2 steps: 27 fps modelled (49.9 dB PSNR on the built-in character)",)
    assert find_remedies(full_report.forecast, fps=8.0, wanted=25.0) == ()
    assert find_remedies(replace(full_report.forecast, boards=()), fps=9.0, wanted=1.0) == ()


def test_markdown_keeps_its_columns() -> None:
    assert format_rows(("a", "b"), [["x|y", "z"]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | z |",
    ]


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
