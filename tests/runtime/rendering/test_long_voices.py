"""A long voice's clip is the short one's work, over and over, in the short one's memory."""

from __future__ import annotations

import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import RenderInputs, RenderSettings, Session, open_bundle

MEASURE = """
import resource, sys
from pathlib import Path
from echoexport.runtime import open_bundle, RenderSettings, Session
from echoexport.runtime.rendering.clip import ClipRequest, make_clip

bundle, portrait, *voices = map(Path, sys.argv[1:])
with open_bundle(bundle) as opened:
    for voice in voices:
        settings = RenderSettings(fps=4)
        box = (20, 20, 76, 76)
        make_clip(Session(opened), ClipRequest(portrait, voice, "-", box, settings=settings))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, file=sys.stderr)
"""


def write_noise(path: Path, *, seconds: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        for second in range(seconds):
            rng = np.random.default_rng(second)
            file.writeframes(rng.integers(-9000, 9000, 16_000).astype("<i2").tobytes())
    return path


def test_a_clip_that_is_not_kept_is_the_one_that_is(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle) as bundle:
        session = Session(bundle)
        settings = RenderSettings(steps=3, seed=4)
        kept = session.render(inputs_for(31.0), settings)
        streamed = session.start(inputs_for(31.0), settings, keep=False)
        assert streamed.frames == kept.frames == 744
        for index in range(kept.frames):
            np.testing.assert_array_equal(streamed.sample(index), kept.sample(index))


def test_the_first_frame_of_a_long_voice_hears_its_begin_and_its_end_alone(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle) as bundle:
        session = Session(bundle, ahead=0)
        rendering = session.start(inputs_for(200.0), keep=False)
        next(iter(rendering))
        assert session.networks.calls()["audio_encoder"] == 2  # of seven


def test_a_frugal_session_hears_a_long_voice_to_its_end(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle) as bundle:
        session = Session(bundle, frugal=True)
        assert len(list(session.start(inputs_for(70.0), keep=False))) == 1680
        assert session.networks.calls()["audio_encoder"] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_eleven_minutes_take_little_more_memory_than_a_second(
    null_bundle: Path, portrait_file: Path, tmp_path: Path
) -> None:
    voices = [write_noise(tmp_path / f"{seconds}.wav", seconds=seconds) for seconds in (1, 660)]
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, null_bundle, portrait_file, *voices],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    short, long = map(int, run.stderr.split())
    # held at once, samples and spectrum alone would be 86 MB
    assert long - short < 50
