"""``echoexport compare``: two bundles on the command line, its files and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echoexport.profiles.quality.report import read_quality_report
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(
        path
    )
    return path


@pytest.fixture
def pair(make_null_bundle: Callable[..., Path]) -> tuple[Path, Path]:
    return make_null_bundle("one"), make_null_bundle("other")


def test_built_in_clips_need_nothing_but_two_bundles(
    command: Callable[..., Any], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    outcome = command(
        "compare",
        *pair,
        "--seconds",
        "0.5",
        "--json",
        tmp_path / "q.json",
        "--page",
        tmp_path / "q.html",
    )
    assert (outcome.code, outcome.told) == (0, [])
    lines = outcome.out.splitlines()
    assert lines[0].startswith("other against one: 60.0 dB, SSIM 1.000, 1.00 x the size")
    assert [line.split()[0] for line in lines[2:8]] == list(FAMILY.required)
    report = read_quality_report(tmp_path / "q.json")
    assert [clip.name for clip in report.clips] == ["built-in", "drawn-1", "drawn-2", "drawn-3"]
    assert {clip.frames for clip in report.clips} == {12}
    assert (tmp_path / "q.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_portrait_and_a_voice_make_the_clip(
    command: Callable[..., Any],
    pair: tuple[Path, Path],
    portrait: Path,
    make_voice: Callable[..., Path],
    tmp_path: Path,
) -> None:
    outcome = command(
        "compare",
        *pair,
        "-p",
        portrait,
        "-v",
        make_voice(),
        "--face-box",
        "20,20,70,70",
        "--steps",
        "3",
        "--fps",
        "10",
        "--seed",
        "5",
        "--json",
        tmp_path / "q.json",
    )
    assert outcome.code == 0, outcome
    report = read_quality_report(tmp_path / "q.json")
    assert [(clip.name, clip.frames) for clip in report.clips] == [("face", 5)]
    assert (report.settings.steps, report.settings.fps, report.settings.seed) == (3, 10, 5)


def test_a_candidate_below_the_quality_exits_with_one_and_one_line(
    command: Callable[..., Any], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    outcome = command(
        "compare", *pair, "--seconds", "0.5", "--quality", "61", "--json", tmp_path / "q.json"
    )
    assert outcome.code == 1
    assert len(outcome.told) == 1
    assert "60.00 dB, 61 dB are wanted" in outcome.told[0]
    assert json.loads((tmp_path / "q.json").read_text())["misses"]
    assert command("compare", *pair, "--seconds", "0.5", "--quality", "59").code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-p", "face.png"], "--portrait and --voice go together"),
        (["-v", "voice.wav"], "--portrait and --voice go together"),
        (["--face-box", "1,2,3,4"], "belong to a --portrait"),
        (["--poses", "poses"], "belong to a --portrait"),
        (["--steps", "0"], "0"),
        (["--quality", "nan"], "--quality nan: dB above 0"),
        (["--json", "none/q.json"], "none/q.json: its folder does not exist"),
        (["--json", "q.html", "--page", "q.html"], "--page q.html: is --json too"),
        (["--backend", "nul"], "Did you mean 'null'?"),
        (["-p", "none.png", "-v", "none.wav"], "none.png"),
    ],
)
def test_what_cannot_work_is_one_line(
    refusal: Callable[..., str], pair: tuple[Path, Path], options: list[str], told: str
) -> None:
    assert told in refusal("compare", *pair, *options)


def test_bundles_of_two_sizes_are_refused(
    refusal: Callable[..., str], make_null_bundle: Callable[..., Path]
) -> None:
    told = refusal(
        "compare", make_null_bundle("small"), make_null_bundle("large", side=64), "--seconds", "0.5"
    )
    assert "small and large differ in picture size (32x32" in told


def test_a_pose_bundle_has_no_built_in_clips(
    refusal: Callable[..., str], make_null_bundle: Callable[..., Path]
) -> None:
    bundle = make_null_bundle("posing", face="pose")
    assert "give --portrait, --voice and --poses" in refusal("compare", bundle, bundle)


def test_a_page_that_cannot_be_written_is_one_line(
    command: Callable[..., Any], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    outcome = command("compare", *pair, "--seconds", "0.5", "--page", tmp_path / "none" / "q.html")
    assert outcome.code == 1
    assert "its folder does not exist" in outcome.told[0]


def test_what_is_no_bundle_is_refused(
    refusal: Callable[..., str], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    assert "is not a bundle" in refusal("compare", pair[0], tmp_path / "none")
