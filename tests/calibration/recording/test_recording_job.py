"""A recording's job: settings refused, renderings and samples settled before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.recording.recording_inputs import RecordingInput, hash_voice
from echoexport.calibration.recording.recording_job import (
    RecordingSettings,
    check_settings,
    prepare_job,
)
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.manifest import read_manifest, replace_manifest
from echoexport.runtime.errors import CalibrationError, SettingError
from echoexport.runtime.inputs.portrait import FaceCrop
from echoexport.runtime.inputs.resize import Size
from echoexport.runtime.inputs.voice import voice_from_samples

SETTINGS = RecordingSettings(samples=6, steps=2, seed=3)


def make_input(portrait: str, voice: str, *, seconds: float = 0.5) -> RecordingInput:
    def crop(size: Size) -> FaceCrop:
        width, height = size
        picture = np.full((height, width, 3), ord(portrait[0]), np.uint8)
        return FaceCrop(picture, np.full((height, width), 255, np.uint8), (0, 0, width, height))

    random = np.random.default_rng(ord(voice[0]))
    samples = random.uniform(-0.3, 0.3, round(16000 * seconds)).astype(np.float32)
    return RecordingInput(portrait, voice, crop, voice_from_samples(samples), None)


@pytest.fixture
def bundle(null_bundle: Path) -> Iterator[Bundle]:
    with open_bundle(null_bundle) as opened:
        yield opened


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": 0}, "0 samples"),
        ({"megabytes": 0.0}, "0 MB"),
        ({"seconds": 4000.0}, "4000 seconds of each voice"),
        ({"seed": 2**64}, "seed 18446744073709551616"),
    ],
)
def test_limits_that_cannot_be_are_refused(changes: dict[str, float], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        check_settings(RecordingSettings(**changes))  # type: ignore[arg-type]
    check_settings(RecordingSettings())


def test_renderings_are_ordered_by_portrait_and_their_calls_counted(bundle: Bundle) -> None:
    inputs = [make_input("b", "v"), make_input("a", "w"), make_input("a", "v")]
    job = prepare_job(bundle, inputs, SETTINGS)
    assert [(item.portrait, item.voice) for item in job.inputs] == [
        ("a", "v"),
        ("a", "w"),
        ("b", "v"),
    ]
    # half a second is 12 frames at 24 a second; windows of 4 that share 1
    assert [shape.frames for shape in job.shapes] == [12, 12, 12]
    assert job.calls_of(0) == job.shapes[0].windows * 2
    assert len(job.timesteps) == 2
    assert job.drawn.need <= SETTINGS.megabytes * 1e6


def test_the_set_says_what_it_will_be_made_of_and_nothing_of_samples_yet(bundle: Bundle) -> None:
    job = prepare_job(bundle, [make_input("a", "v")], SETTINGS)
    described = job.described
    assert (described.sampling.seed, described.sampling.steps) == (3, 2)
    assert list(described.portraits) == ["a"]
    assert described.voices == {"v": hash_voice(job.voices["v"])}
    assert (described.samples, dict(described.arrays), dict(described.poses)) == ((), {}, {})
    assert described.made == bundle.backend.describe()


def test_where_nobody_says_how_many_steps_those_of_live_sessions_are_recorded(
    null_bundle: Path,
) -> None:
    manifest = read_manifest(null_bundle)
    sampler = replace(manifest.sampler, live_steps=5)
    replace_manifest(replace(manifest, sampler=sampler), null_bundle)
    with open_bundle(null_bundle) as opened:
        job = prepare_job(opened, [make_input("a", "v")], RecordingSettings(samples=6))
    assert len(job.timesteps) == job.described.sampling.steps == 5


def test_a_fingerprint_is_that_of_inputs_settings_and_engine(bundle: Bundle) -> None:
    one = prepare_job(bundle, [make_input("a", "v")], SETTINGS)
    again = prepare_job(bundle, [make_input("a", "v")], SETTINGS)
    others = [
        prepare_job(bundle, [make_input("b", "v")], SETTINGS),
        prepare_job(bundle, [make_input("a", "w")], SETTINGS),
        prepare_job(bundle, [make_input("a", "v")], RecordingSettings(samples=6, steps=2, seed=4)),
        prepare_job(
            bundle, [make_input("a", "v")], RecordingSettings(samples=6, steps=2, seed=3, threads=1)
        ),
    ]
    assert one.fingerprint == again.fingerprint
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_a_long_voice_is_cut_and_two_inputs_of_one_name_are_refused(
    bundle: Bundle, make_null_bundle: Callable[..., Path]
) -> None:
    settings = RecordingSettings(samples=6, steps=2, seconds=0.5)
    job = prepare_job(bundle, [make_input("a", "v", seconds=3)], settings)
    assert len(job.voices["v"].samples) == 8000
    with pytest.raises(CalibrationError, match="portrait 'a' with voice 'v' is given 2 times"):
        prepare_job(bundle, [make_input("a", "v"), make_input("a", "v")], settings)
    with pytest.raises(CalibrationError, match="no portrait and voice"):
        prepare_job(bundle, [], settings)
