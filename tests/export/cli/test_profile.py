"""``echoexport profile``, and ``echoexport compare`` on what it writes.

Files, lines and exit codes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.reports.profile import read_profile


@pytest.fixture
def profiled(command: Callable[..., Any], null_bundle: Path, tmp_path: Path) -> Path:
    """A folder with the reports of the null bundle."""
    outcome = command(
        "profile",
        null_bundle,
        "--duration",
        "0.5",
        "--repeats",
        "2",
        "--warmup",
        "0",
        "-o",
        tmp_path / "one",
    )
    assert outcome.code == 0, outcome
    return tmp_path / "one"


def test_a_bundle_alone_is_enough_and_gives_three_reports_and_a_trace(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    outcome = command(
        "profile",
        null_bundle,
        "--duration",
        "0.5",
        "--repeats",
        "1",
        "--warmup",
        "0",
        "--layers",
        "--steps",
        "3",
        "--fps",
        "30",
        "--trace",
        tmp_path / "trace.json",
        "-o",
        tmp_path / "profile",
    )
    assert outcome.code == 0, outcome
    assert outcome.told == []
    assert "note: backend 'null' computes nothing" in outcome.out
    assert outcome.out.startswith("real-time at 30 fps: ")
    assert outcome.out.splitlines()[-1].endswith("profile: report.json, report.md, report.html")
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    report = read_profile(tmp_path / "profile" / "report.json")
    assert (report.settings.frames, report.settings.steps, report.settings.fps) == (15, 3, 30)
    assert (report.settings.portrait, report.settings.voice) == ("portrait.png", "voice.wav")
    assert report.layers
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert (
        (tmp_path / "profile" / "report.html")
        .read_text(encoding="utf-8")
        .startswith("<!DOCTYPE html>")
    )


def test_a_portrait_and_a_voice_of_ones_own_are_taken(
    command: Callable[..., Any],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
) -> None:
    outcome = command(
        "profile",
        null_bundle,
        "-p",
        portrait_file,
        "-a",
        voice_file,
        "--face-box",
        "20,20,70,70",
        "--repeats",
        "1",
        "--warmup",
        "0",
        "-o",
        tmp_path / "profile",
    )
    assert outcome.code == 0, outcome
    assert (
        read_profile(tmp_path / "profile" / "report.json").settings.frames == 12
    )  # half a second of sound


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--face-box", "1,2,3,4"), "--face-box belongs to a --portrait"),
        (("--repeats", "0"), "--repeats"),
        (("--fps", "fast"), "--fps fast"),
        (("--backend", "nul"), "unknown backend 'nul'"),
        (("--steps", "0"), "steps"),
        (("--audio", "no.wav"), "no.wav"),
        (("--duration", "0"), "--duration"),
        (("--trace", "none/t.json"), "none/t.json: its folder does not exist"),
    ],
)
def test_what_cannot_work_is_one_line(
    refusal: Callable[..., str],
    null_bundle: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    told: str,
) -> None:
    line = refusal("profile", null_bundle, "-o", tmp_path / "profile", *options)
    assert told in line


def test_an_output_that_is_a_file_is_refused_before_the_work(
    refusal: Callable[..., str], null_bundle: Path, voice_file: Path
) -> None:
    assert f"{voice_file}: cannot be made" in refusal("profile", null_bundle, "-o", voice_file)


def test_a_pose_bundle_asks_for_poses(
    command: Callable[..., Any], make_null_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    outcome = command(
        "profile", make_null_bundle(face="pose"), "--warmup", "0", "-o", tmp_path / "profile"
    )
    assert outcome.code == 1
    assert "needs poses: --poses FOLDER" in outcome.err


def test_profiles_are_compared_and_written(
    command: Callable[..., Any], profiled: Path, tmp_path: Path
) -> None:
    report = profiled / "report.json"
    outcome = command(
        "compare",
        report,
        report,
        "--json",
        tmp_path / "c.json",
        "--page",
        tmp_path / "c.html",
        "--markdown",
        tmp_path / "c.md",
    )
    assert outcome.code == 0, outcome
    assert "one (2): no network differs by more than noise" in outcome.out
    assert (tmp_path / "c.md").read_text() in outcome.out
    assert json.loads((tmp_path / "c.json").read_text())["labels"] == ["one (1)", "one (2)"]
    assert (tmp_path / "c.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("limit", "code"),
    [("fps>100000", 0), ("fps<1000000", 1), ("bundle>1kB", 1), ("vae_decoder.p50>+900%", 0)],
)
def test_a_broken_limit_exits_with_one_and_names_itself(
    command: Callable[..., Any], profiled: Path, limit: str, code: int
) -> None:
    report = profiled / "report.json"
    outcome = command("compare", report, report, "--fail-if", limit)
    assert outcome.code == code
    assert len(outcome.told) == code
    assert not code or f"error: one (1): {limit}: " in outcome.told[0]


def test_one_profile_can_be_held_to_limits_but_not_to_changes(
    command: Callable[..., Any], refusal: Callable[..., str], profiled: Path
) -> None:
    report = profiled / "report.json"
    assert command("compare", report, "--fail-if", "first_frame>1000s").code == 0
    assert "needs a second profile" in refusal("compare", report, "--fail-if", "fps<-5%")
    assert "is wanted" in refusal("compare", report, "--fail-if", "fps is low")
    assert "has no 'fsp'; try fps" in refusal("compare", report, "--fail-if", "fsp<5")


def test_bundles_and_profiles_do_not_mix(
    refusal: Callable[..., str], profiled: Path, null_bundle: Path
) -> None:
    assert "not both" in refusal("compare", null_bundle, profiled / "report.json")
    assert "nothing to compare" in refusal("compare")
    assert "1 bundles: two are compared" in refusal("compare", null_bundle)
    assert "are for profiles" in refusal("compare", null_bundle, null_bundle, "--fail-if", "fps<1")
    assert "cannot be read" in refusal("compare", profiled / "none.json")
    assert "not readable JSON" in refusal("compare", profiled / "report.md")
