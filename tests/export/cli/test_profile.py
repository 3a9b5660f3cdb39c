"""``echoexport profile``: files, lines and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.reports.profile import read_profile


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
    # Half a second of sound.
    assert read_profile(tmp_path / "profile" / "report.json").settings.frames == 12


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--face-box", "1,2,3,4"), "--face-box belongs to a --portrait"),
        (("--repeats", "0"), "--repeats"),
        (("--fps", "fast"), "--fps fast"),
        (("--backend", "nul"), "unknown backend 'nul'"),
        (("--steps", "0"), "steps"),
        (("--voice", "no.wav"), "no.wav"),
        (("--audio", "no.wav"), "no.wav"),
        (("-a", "no.wav"), "no.wav"),
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


def test_a_profile_that_fails_leaves_no_empty_folder(
    refusal: Callable[..., str], null_bundle: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    refusal("profile", null_bundle, "-o", tmp_path / "new" / "profile", "--trace", "none/t.json")
    assert sorted(tmp_path.iterdir()) == before


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


def test_a_conversation_is_measured_where_it_is_asked_for(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    outcome = command(
        "profile",
        null_bundle,
        *("--duration", "0.5", "--repeats", "1", "--warmup", "0", "--live"),
        "-o",
        tmp_path / "one",
    )
    assert outcome.code == 0, outcome
    report = json.loads((tmp_path / "one" / "report.json").read_text("utf-8"))
    live = report["live"]  # how many are late is the machine's affair
    assert f"live: late frames: {live['late_frames']} of {live['frames']}" in outcome.out
    assert report["live"]["pace"] == "real"
    assert report["live"]["spoken_frames"] >= 5
    assert "Live</h2>" in (tmp_path / "one" / "report.html").read_text("utf-8")
    assert "live: room for" in (tmp_path / "one" / "report.md").read_text("utf-8")
    again = command("compare", tmp_path / "one" / "report.json")
    assert again.code == 0, again
    assert "live_first_frame" in again.out
