"""The quality page: HTML that asks for nothing, every figure of the headline, pictures."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.measuring.circumstances import Circumstances, MachineRecord
from echoexport.profiles.pages.quality_page import format_quality_page
from echoexport.profiles.quality.report import (
    BundleSide,
    ClipQuality,
    Headline,
    LayerQuality,
    NetworkQuality,
    NetworkSide,
    QualityBudget,
    QualityReport,
    RunSettings,
    Score,
)
from echoexport.profiles.quality.signals import Closeness
from echoexport.profiles.quality.strips import (
    choose_frames,
    draw_closely,
    draw_strip,
    read_strip,
)

MOST_BYTES = 1_500_000


def make_report(
    *, clips: int = 1, label: str = "int8", reason: str = "policy: conv_in"
) -> QualityReport:
    closeness = Closeness(38.5, 0.9999, 0.25, 0.012)
    side = BundleSide(
        "fp32", "full", "acc", "cpu", "fp32", "null: zeros", "fp32", 0, 100, 200, "ab" * 32
    )
    scores = (Score("lips", 1.0, 0.987, -0.013),)
    clip = ClipQuality("one", 3, closeness, 38.2, 35.5, 1, 0.985, 0.971, scores, (40.0, 35.5, 39.0))
    networks = (
        NetworkQuality(
            "denoising_unet",
            NetworkSide("fp32", "fp32", 100, 0.2, 0.3),
            NetworkSide("int8", "int8", 28, 0.1, 0.2, 0.912, 0.283),
            12,
            120,
            closeness,
            "velocity",
            38.5,
            0.28,
            1.9,
        ),
    )
    return QualityReport(
        1,
        "measured",
        side,
        dataclasses.replace(side, label=label),
        RunSettings(6, 24.0, 1.0, 1, 0, 2, 11),
        QualityBudget(psnr=35.0),
        (),
        Headline(31.5, 30.2, 38.2, 35.5, 0.9851, 0.9712, 0.31, 0.28, 1.9, scores),
        tuple(dataclasses.replace(clip, name=f"clip {index}") for index in range(clips)),
        networks,
        (LayerQuality("denoising_unet", "conv_in", "float", reason, 1.5),),
        ("a remark",),
        Circumstances(
            MachineRecord("a cpu", 2, None, "Linux", None),
            "3.11",
            {"numpy": "2"},
            "2026-01-01T00:00:00+00:00",
        ),
    )


@pytest.fixture
def add_strips(make_frames: Callable[..., np.ndarray]) -> Callable[..., QualityReport]:
    """A function that gives a report strips of three bundles, and its worst frame."""

    def run(report: QualityReport, *, side: int) -> QualityReport:
        frames = {
            "fp32": make_frames(side=side),
            "fp16": make_frames(side=side),
            "int8": make_frames(side=side, seed=1),
        }
        numbers = choose_frames(8, wanted=6)
        strips = [draw_strip(clip.name, frames, numbers=numbers) for clip in report.clips]
        worst = draw_closely("worst", frames, number=3)
        return dataclasses.replace(report, strips=(*strips, worst))

    return run


def test_the_size_table_gives_the_int8_share_and_the_size_against_fp32_of_all_networks(
    read_page: Callable[[str], Any],
) -> None:
    report = make_report()
    side = dataclasses.replace(report.candidate, int8_share=0.876, of_fp32=0.317)
    text = read_page(format_quality_page(dataclasses.replace(report, candidate=side))).text
    assert "91.2 %" in text and "0.283 x" in text
    assert text.count("87.6 %") == 2 and "0.317 x" in text
    unknown = dataclasses.replace(side, int8_share=None)
    assert (
        read_page(format_quality_page(dataclasses.replace(report, candidate=unknown))).text.count(
            "not known"
        )
        == 2
    )


def test_the_page_is_whole_and_asks_for_nothing(
    add_strips: Callable[..., QualityReport], read_page: Callable[[str], Any]
) -> None:
    text = format_quality_page(add_strips(make_report(), side=32))
    page = read_page(text)
    assert page.open == []
    assert "script" not in page.tags and "link" not in page.tags
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    )
    assert all(
        value.startswith("data:image/")
        for name, value in page.attributes
        if name in ("src", "href")
    )
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_every_figure_of_the_headline_is_there_and_the_verdict_is_first(
    read_page: Callable[[str], Any],
) -> None:
    text = read_page(format_quality_page(make_report())).text
    shown = (
        "38.2 dB",
        "35.5 dB",
        "0.9851",
        "0.9712",
        "31.5 dB",
        "30.2 dB",
        "0.31 x",
        "0.28 x",
        "1.90 x",
        "0.987",
        "-0.013",
    )
    assert [figure for figure in shown if figure not in text] == []
    assert text.split("quality", 1)[1].lstrip().startswith("int8 holds: 38.2 dB")
    assert "measured" in text and "Note: a remark." in text and "policy: conv_in" in text


@pytest.mark.parametrize("side", [128, 512])
def test_the_page_stays_small_with_pictures_that_pack_worst(
    side: int, add_strips: Callable[..., QualityReport]
) -> None:
    text = format_quality_page(add_strips(make_report(clips=3), side=side))
    assert len(text.encode()) < MOST_BYTES


@given(st.text(max_size=30), st.text(max_size=30))
def test_names_cannot_break_the_page(
    read_page: Callable[[str], Any], label: str, reason: str
) -> None:
    page = read_page(
        format_quality_page(
            make_report(label=f"<b>{label}</td>", reason=f"</table><script>{reason}")
        )
    )
    assert page.open == []
    assert "script" not in page.tags


def test_a_page_without_pictures_and_layers_has_neither_heading(
    read_page: Callable[[str], Any],
) -> None:
    text = read_page(format_quality_page(dataclasses.replace(make_report(), layers=()))).text
    assert "What it looks like" not in text and "Layers" not in text


@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 1600])
def test_a_browser_needs_no_scrolling_sideways(
    tmp_path: Path, width: int, add_strips: Callable[..., QualityReport]
) -> None:
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        pytest.skip("no chromium is installed")
    # A headless window is 500 pixels wide at least; a frame is as narrow as it is told
    # to be.
    inner = 390 if width == 500 else width
    (tmp_path / "page.html").write_text(
        format_quality_page(add_strips(make_report(), side=128)), encoding="utf-8"
    )
    (tmp_path / "probe.html").write_text(
        f'<iframe src="page.html" width="{inner}" height="900" style="border:0"></iframe>'
        '<p id="found"></p>'
        "<script>onload = () => { const page = "
        "document.querySelector('iframe').contentDocument.documentElement;"
        "document.getElementById('found').textContent = `${page.clientWidth} "
        "${page.scrollWidth}`; }</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--dump-dom",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},1000",
    ]
    done = subprocess.run(
        [browser, *flags, (tmp_path / "probe.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = re.search(r'id="found">(\d+) (\d+)<', done.stdout)
    assert found is not None, done.stdout[-500:]
    assert int(found[2]) <= int(found[1]) <= inner


def test_the_first_strip_of_frames_is_read_back_from_a_page(
    add_strips: Callable[..., QualityReport],
) -> None:
    report = add_strips(make_report(label="a<b"), side=128)
    strip = next(strip for strip in report.strips if not strip.closely)
    assert read_strip(format_quality_page(report)) == strip
    assert read_strip(format_quality_page(make_report())) is None
