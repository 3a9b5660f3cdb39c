"""The quality report as data: its verdict, its JSON, its way onto the disk."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.measuring.circumstances import Circumstances, MachineRecord
from echoexport.profiles.pages.quality_page import write_quality_report
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
    Strip,
    StripRow,
    describe_verdict,
    find_misses,
    format_quality_json,
    read_quality_report,
)
from echoexport.profiles.quality.signals import Closeness
from echoexport.runtime.errors import InputError, OutputError

HEAD = Headline(
    31.5, 30.2, 38.2, 35.5, 0.985, 0.971, 0.31, 0.28, 1.9, (Score("lips", 1.0, 0.99, -0.01),)
)
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def make_report(**changes: Any) -> QualityReport:
    closeness = Closeness(38.5, 0.9999, 0.25, 0.012)
    side = BundleSide(
        "fp32", "full", "acc", "cpu", "fp32", "null: zeros", "fp32", 0, 100, 200, "ab" * 32
    )
    report = QualityReport(
        schema=1,
        origin="measured",
        reference=side,
        candidate=dataclasses.replace(
            side, label="int8", name="small", precision="int8", weights=28, bytes=62
        ),
        settings=RunSettings(6, 24.0, 1.0, 1, 0, 2, 11),
        budget=QualityBudget(35.0, 0.97, {"lips": 0.02}),
        misses=(),
        headline=HEAD,
        clips=(
            ClipQuality(
                "one", 3, closeness, 38.2, 35.5, 1, 0.985, 0.971, HEAD.scores, (40.0, 35.5, 39.0)
            ),
        ),
        networks=(
            NetworkQuality(
                "denoising_unet",
                NetworkSide("fp32", "fp32", 100, 0.2, 0.3),
                NetworkSide("int8", "int8", 28, 0.1, 0.2),
                12,
                120,
                closeness,
                "velocity",
                38.5,
                0.28,
                1.9,
            ),
        ),
        layers=(LayerQuality("denoising_unet", "conv_in", "float", "policy: conv_in", 1.5),),
        notes=("a remark",),
        conditions=Circumstances(
            MachineRecord("a processor", 2, 8_000_000_000, "Linux", 0.5),
            "3.11",
            {"numpy": "2"},
            "2026-01-01T00:00:00+00:00",
        ),
        strips=(Strip("one", (0, 1), closely=False, rows=(StripRow("fp32", PICTURE, 10, 5),)),),
    )
    return dataclasses.replace(report, **changes)


def test_the_verdict_says_that_the_budget_holds_and_what_it_brings() -> None:
    line = "int8 holds: 38.2 dB, SSIM 0.985, 0.31 x the size, denoiser 1.90 x as fast (measured)"
    assert describe_verdict(make_report()) == line


def test_without_a_budget_nothing_holds_and_nothing_is_missed() -> None:
    report = make_report(budget=QualityBudget())
    assert describe_verdict(report).startswith("int8 against fp32: 38.2 dB")
    assert report.holds


def test_a_missed_budget_comes_first() -> None:
    report = make_report(misses=("38.20 dB, 40 dB are wanted",))
    assert describe_verdict(report).startswith(
        "int8 misses its budget (38.20 dB, 40 dB are wanted): 38.2 dB"
    )
    assert not report.holds


@pytest.mark.parametrize(
    ("budget", "count"),
    [
        (QualityBudget(38.2, 0.985, {"lips": 0.01}), 0),
        (QualityBudget(psnr=38.21), 1),
        (QualityBudget(ssim=0.986), 1),
        (QualityBudget(losses={"lips": 0.009}), 1),
        (QualityBudget(99, 1.0, {"lips": 0}), 3),
        (QualityBudget(), 0),
    ],
)
def test_a_limit_that_is_just_reached_is_kept(budget: QualityBudget, count: int) -> None:
    assert len(find_misses(budget, HEAD)) == count


def test_json_comes_back_as_it_was_but_for_the_pictures(tmp_path: Path) -> None:
    report = make_report()
    data, page = write_quality_report(report, tmp_path)
    assert read_quality_report(data) == dataclasses.replace(report, strips=())
    assert "strips" not in json.loads(data.read_text())
    assert PICTURE in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quality.html", "quality.json"]


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written.append(
            [path.read_bytes() for path in write_quality_report(make_report(), tmp_path / name)]
        )
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 2}, "schema 2; this release reads 1"),
        ({"more": 1}, "unknown key 'more'"),
        ({"headline": 3}, "wanted an object"),
    ],
)
def test_another_schema_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "quality.json"
    path.write_text(json.dumps({**json.loads(format_quality_json(make_report())), **change}))
    with pytest.raises(InputError, match=told):
        read_quality_report(path)


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_quality_report(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(InputError, match="not a readable quality report"):
        read_quality_report(tmp_path / "bad.json")


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="its folder does not exist"):
        write_quality_report(make_report(), tmp_path / "none")
