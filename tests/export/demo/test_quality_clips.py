"""The built-in comparison clips.

Who is in them, what is heard, and scores that know an open mouth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.export.demo.assets import builtin_checkpoint
from echoexport.export.demo.calibration_inputs import BUILTIN_COUNT
from echoexport.export.demo.calibration_inputs import FIRST_CALIBRATION_PERSON as FIRST_CALIBRATED
from echoexport.export.demo.gates.mouth import draw_person_frames
from echoexport.export.demo.quality_clips import (
    FIRST_QUALITY_PERSON,
    ClipSettings,
    is_character,
    list_quality_clips,
    measure_loudness,
)
from echoexport.export.demo.world.person import draw_person
from echoexport.export.demo.world.state import STATE_WIDTH, FaceState
from echoexport.profiles.quality.mouth import CLOSED, FOLLOWS, SOUND
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.manifest import FileEntry, Manifest, read_manifest
from echoexport.runtime.errors import SettingError

SIDE = 128


@pytest.fixture
def character(make_null_bundle: Callable[..., Path]) -> Manifest:
    """The manifest of a bundle that says it was built from the character's own checkpoint."""
    manifest = read_manifest(make_null_bundle(side=SIDE))
    folder = builtin_checkpoint()
    files = {
        name: FileEntry(hash_file(folder / name), 1)
        for name in ("face_locator.pth", "echoexport.yaml")
    }
    return dataclasses.replace(
        manifest, provenance=dataclasses.replace(manifest.provenance, checkpoint_files=files)
    )


def speak(openness: np.ndarray, *, seed: int) -> np.ndarray:
    """A drawn person's frames with the mouth so far open."""
    states = np.zeros((len(openness), STATE_WIDTH), np.float32)
    states[:, 0] = openness
    return draw_person_frames(draw_person(seed), FaceState.from_matrix(states), size=SIDE)


def test_nobody_was_calibrated_with_and_the_last_one_hears_silence(character: Manifest) -> None:
    assert FIRST_CALIBRATED + BUILTIN_COUNT <= FIRST_QUALITY_PERSON < 1_000_000
    clips = list_quality_clips(character, ClipSettings(people=3, seconds=1.5), fps=24)
    assert [clip.name for clip in clips] == ["built-in", "drawn-1", "drawn-2", "drawn-3"]
    assert {float(clip.inputs.voice.duration) for clip in clips} == {1.5}
    loudness = [float(np.abs(clip.inputs.voice.samples).max()) for clip in clips]
    assert min(loudness[:3]) > 0.1 and loudness[3] < 0.001
    sounds = [clip.inputs.voice.samples for clip in clips]
    assert not any(np.array_equal(sounds[0], other) for other in sounds[1:])
    for clip in clips:
        assert clip.inputs.picture.shape == (SIDE, SIDE, 3) and clip.inputs.mask is not None
        assert clip.inputs.mask.shape == (SIDE, SIDE) and 0 < (clip.inputs.mask > 0).mean() < 1


def test_the_same_clips_come_every_time(character: Manifest) -> None:
    one, other = (
        list_quality_clips(character, ClipSettings(people=2, seconds=0.5), fps=24) for _ in range(2)
    )
    for first, second in zip(one, other, strict=True):
        assert np.array_equal(first.inputs.picture, second.inputs.picture)
        assert np.array_equal(first.inputs.voice.samples, second.inputs.voice.samples)


@pytest.mark.slow
def test_a_mouth_that_follows_scores_well_and_one_that_does_not_badly(character: Manifest) -> None:
    clip = list_quality_clips(character, ClipSettings(people=2, seconds=2), fps=24)[1]
    assert clip.score is not None
    loudness = measure_loudness(clip.inputs.voice.samples, fps=24)
    moving = speak(loudness / loudness.max(), seed=FIRST_QUALITY_PERSON)
    still = speak(0 * loudness, seed=FIRST_QUALITY_PERSON)
    against = speak(1 - loudness / loudness.max(), seed=FIRST_QUALITY_PERSON)
    own, stuck, wrong = (clip.score(frames, moving) for frames in (moving, still, against))
    assert own[FOLLOWS] == pytest.approx(1) and own[SOUND] > 0.9
    assert stuck[FOLLOWS] == 0
    assert wrong[FOLLOWS] < -0.5 and wrong[SOUND] < -0.5


@pytest.mark.slow
def test_in_silence_only_a_closed_mouth_is_right(character: Manifest) -> None:
    clip = list_quality_clips(character, ClipSettings(people=1, seconds=0.5), fps=24)[1]
    assert clip.score is not None
    closed = speak(np.zeros(12), seed=FIRST_QUALITY_PERSON)
    opened = speak(np.full(12, 0.5), seed=FIRST_QUALITY_PERSON)
    assert clip.score(closed, closed) == {CLOSED: 1.0}
    assert clip.score(opened, closed) == {CLOSED: 0.0}


def test_mouths_of_another_checkpoint_are_not_scored(make_null_bundle: Callable[..., Path]) -> None:
    manifest = read_manifest(make_null_bundle(side=SIDE))
    assert not is_character(manifest)
    assert [
        clip.score for clip in list_quality_clips(manifest, ClipSettings(people=1), fps=24)
    ] == [
        None,
        None,
    ]


def test_another_shape_of_picture_gets_its_own_crop(character: Manifest) -> None:
    wide = dataclasses.replace(character, picture=dataclasses.replace(character.picture, width=192))
    clips = list_quality_clips(wide, ClipSettings(people=1, seconds=0.5), fps=24)
    assert {clip.inputs.picture.shape for clip in clips} == {(SIDE, 192, 3)}
    assert {clip.score for clip in clips} == {None}


@pytest.mark.parametrize(
    "changes", [{"people": -1}, {"people": 300_000}, {"seconds": 0.1}, {"seconds": float("nan")}]
)
def test_plans_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="half a second"):
        ClipSettings(**changes)  # type: ignore[arg-type]


def test_a_pose_bundle_has_no_clips(make_null_bundle: Callable[..., Path]) -> None:
    with pytest.raises(SettingError, match="--poses"):
        list_quality_clips(read_manifest(make_null_bundle(face="pose")), fps=24)


def test_loudness_is_the_root_mean_square_of_each_frame() -> None:
    samples = np.repeat(np.array([0.0, 0.5, 0.25], np.float32), 640)
    assert measure_loudness(samples, fps=25) == pytest.approx([0, 0.5, 0.25])
