"""The built-in calibration set: drawn people whom no gate looks at, ten voices in turn."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.export.demo.assets import builtin_voice
from echoexport.export.demo.calibration_inputs import (
    BUILTIN_COUNT,
    FIRST_CALIBRATION_PERSON,
    builtin_recording_inputs,
)
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.voice import SAMPLE_RATE, read_voice


def test_people_and_voices_take_turns() -> None:
    inputs = builtin_recording_inputs(11)
    assert [one.portrait for one in inputs] == [
        f"drawn-{FIRST_CALIBRATION_PERSON + index}" for index in range(11)
    ]
    assert [one.voice for one in inputs] == [
        "voice-0-at-1",
        "voice-0-at-0.9",
        "voice-0-at-1.2",
        "silence",
        "voice-1-at-1",
        "voice-1-at-0.9",
        "voice-1-at-1.2",
        "voice-2-at-1",
        "voice-2-at-0.9",
        "voice-2-at-1.2",
        "voice-0-at-1",
    ]


def test_a_voice_is_the_built_in_one_played_at_its_speed() -> None:
    whole = read_voice(builtin_voice()).samples
    plain, slow, quick = (one.sound.samples for one in builtin_recording_inputs(3))
    piece = 2 * SAMPLE_RATE
    np.testing.assert_array_equal(plain, whole[:piece])
    assert len(slow) == pytest.approx(piece / 0.9, abs=2)
    assert len(quick) == pytest.approx(piece / 1.2, abs=2)


def test_the_silent_one_hears_a_microphones_hiss_and_nothing_else() -> None:
    hiss = builtin_recording_inputs()[3].sound.samples
    assert len(hiss) == 2 * SAMPLE_RATE
    assert hiss.std() * 32768 == pytest.approx(4.0, rel=0.05)
    assert np.abs(hiss).max() * 32768 < 24


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    few, many = builtin_recording_inputs(2), builtin_recording_inputs(BUILTIN_COUNT)
    for one, other in zip(few, many, strict=False):
        assert (one.portrait, one.voice) == (other.portrait, other.voice)
        np.testing.assert_array_equal(one.sound.samples, other.sound.samples)


def test_a_crop_has_the_size_that_is_asked_for_with_the_face_in_its_mask() -> None:
    crop = builtin_recording_inputs(1)[0].crop((64, 64))
    assert crop.picture.shape == (64, 64, 3)
    assert crop.mask.shape == (64, 64)
    assert crop.mask[32, 32] == 255
    assert crop.mask[0, 0] == 0


@pytest.mark.parametrize("count", [0, -1, 500_000])
def test_no_people_or_those_of_the_gates_are_refused(count: int) -> None:
    with pytest.raises(SettingError, match=f"{count} built-in portraits: 1 to 499999 are wanted"):
        builtin_recording_inputs(count)
