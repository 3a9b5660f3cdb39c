"""``echoexport run``: reports and traces, and places where nothing may be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_trace_shows_the_whole_run(run: Callable[..., Any], tmp_path: Path) -> None:
    outcome = run(tmp_path / "out.mp4", "--trace", tmp_path / "trace.json")
    assert outcome.code == 0, outcome
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"clip", "denoising_unet", "vae_decoder", "encode", "mux"} <= {
        event["name"] for event in events
    }


def test_a_run_that_fails_leaves_no_trace(run: Callable[..., Any], tmp_path: Path) -> None:
    outcome = run(
        tmp_path / "out.mp4", "--trace", tmp_path / "trace.json", voice=tmp_path / "none.wav"
    )
    assert outcome.code == 1
    assert not (tmp_path / "trace.json").exists()


@pytest.mark.parametrize("option", ["--report", "--trace"])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("none/r.json", "its folder does not exist"),
        ("folder", "is no plain file"),
        ("voice.wav", "is --voice too"),
        ("out.mp4", "is --output too"),
        ("bundle/r.json", "lies within bundle"),
    ],
)
def test_a_report_that_cannot_be_or_would_replace_something_is_refused_before_the_work(
    refusal: Callable[..., str],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
    option: str,
    place: str,
    told: str,
) -> None:
    (tmp_path / "folder").mkdir()
    voice = voice_file.rename(tmp_path / "voice.wav")
    (tmp_path / "bundle").symlink_to(null_bundle)
    before = voice.read_bytes()
    files = ("-p", portrait_file, "-v", voice, "-o", tmp_path / "out.mp4")
    line = refusal("run", tmp_path / "bundle", *files, "--no-cache", option, tmp_path / place)
    assert told in line
    assert voice.read_bytes() == before
    assert not (tmp_path / "out.mp4").exists()


def test_report_and_trace_are_two_files(
    refusal: Callable[..., str], null_bundle: Path, tmp_path: Path
) -> None:
    both = ("--report", tmp_path / "r.json", "--trace", tmp_path / "r.json")
    files = ("-p", tmp_path / "p.png", "-v", tmp_path / "v.wav", "-o", tmp_path / "out.mp4")
    assert "--trace" in refusal("run", null_bundle, *files, *both)


@pytest.mark.parametrize("place", [".", "out.mp4", "frames"])
def test_nothing_is_rendered_into_the_bundle(
    refusal: Callable[..., str],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    place: str,
) -> None:
    before = sorted(null_bundle.rglob("*"))
    line = refusal(
        "run", null_bundle, "-p", portrait_file, "-v", voice_file, "-o", null_bundle / place
    )
    assert "lies within bundle" in line
    assert sorted(null_bundle.rglob("*")) == before
