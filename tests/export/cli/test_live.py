"""``echoexport live``: a voice in, a video with its sound out, and a report of how it went."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


@pytest.fixture
def live(
    command: Callable[..., Any], null_bundle: Path, portrait_file: Path, voice_file: Path
) -> Callable[..., Any]:
    """A function that plays half a second of sound through the null bundle."""

    def call(output: object, *options: object, voice: object = voice_file) -> Any:
        return command(
            "live", null_bundle, "-p", portrait_file, "-v", voice, "-o", output, *options
        )

    return call


def test_a_voice_becomes_a_video_with_its_sound(live: Callable[..., Any], tmp_path: Path) -> None:
    outcome = live(tmp_path / "out.mp4")
    assert outcome.code == 0, outcome
    assert "of them spoken" in outcome.out
    with av.open(str(tmp_path / "out.mp4")) as video:
        frames = sum(1 for _ in video.decode(video=0))
    with av.open(str(tmp_path / "out.mp4")) as video:
        samples = sum(part.samples for part in video.decode(audio=0))
    assert frames >= 13
    assert abs(samples - frames * 640) < 2048


def test_the_report_says_how_soon_and_how_late(live: Callable[..., Any], tmp_path: Path) -> None:
    outcome = live(tmp_path / "out.mp4", "--report", tmp_path / "live.json")
    assert outcome.code == 0, outcome
    report = json.loads((tmp_path / "live.json").read_text("utf-8"))
    assert 200 < report["first_frame_ms"] < 2000
    assert report["delay_ms"] <= report["delay_ms_p99"]
    assert report["frames"] >= report["spoken_frames"] >= 12
    assert report["denoiser_calls_per_frame"] > 0
    assert report["fps_capacity"] > 25
    assert (report["pace"], report["mode"], report["steps_down"]) == ("real", "renoised", 0)
    assert report["conditions"]["machine"]["cores"] >= 1


def test_a_voice_is_spoken_faster_than_it_lasts_where_that_is_asked_for(
    live: Callable[..., Any], make_voice: Callable[..., Path], tmp_path: Path
) -> None:
    outcome = live(tmp_path / "out.mp4", "--pace", "fast", voice=make_voice(seconds=20))
    assert outcome.code == 0, outcome
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) >= 500


def test_sound_on_stdin_becomes_a_video_on_stdout(
    start_command: Callable[..., Any], null_bundle: Path, portrait_file: Path
) -> None:
    noise = np.random.default_rng(3).uniform(-9000, 9000, 16000).astype("<i2")
    running = start_command(
        "live",
        null_bundle,
        *("-p", portrait_file, "-v", "-", "-o", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    video, told = running.communicate(noise.tobytes(), timeout=120)
    assert running.returncode == 0, told
    with av.open(io.BytesIO(video)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) >= 25
    assert b"first frame" in told


@pytest.mark.parametrize(
    ("output", "words"), [("out.avi", "is an .mp4 file"), ("missing/out.mp4", "missing")]
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_read(
    live: Callable[..., Any], tmp_path: Path, output: str, words: str
) -> None:
    outcome = live(tmp_path / output)
    assert outcome.code == 1
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_voice_that_is_none_is_one_line(live: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "words.wav").write_text("no sound")
    outcome = live(tmp_path / "out.mp4", voice=tmp_path / "words.wav")
    assert outcome.code == 1
    assert "words.wav" in outcome.err
    assert not (tmp_path / "out.mp4").exists()
