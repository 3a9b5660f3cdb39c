"""What ships with the demo character: small, whole, found in any installation."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from echoexport.export.build.settings import BuildSettings
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.demo import assets
from echoexport.export.demo.assets import (
    CHARACTER_LIVE_STEPS,
    CHARACTER_SIZE,
    CHARACTER_STEPS,
    CHARACTER_VARIANT,
    builtin_checkpoint,
    builtin_face_box,
    builtin_portrait,
    builtin_voice,
    find_checkpoint,
    is_builtin,
    suit_character,
)
from echoexport.export.demo.training.recipe import CHARACTER
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.errors import CheckpointError, InputError, SettingError
from echoexport.runtime.inputs.portrait import crop_face, read_portrait

LARGEST_CHECKPOINT = 24_000_000


def test_the_checkpoint_is_the_recipes_and_has_the_samplers_defaults() -> None:
    opened = open_checkpoint(builtin_checkpoint(), CHARACTER_VARIANT)
    assert opened.architecture == CHARACTER
    assert (opened.variant.steps, opened.variant.guidance, opened.variant.shared_noise) == (
        6,
        1.0,
        1.0,
    )
    assert opened.settings.scheduler == SchedulerConfig()


def test_the_checkpoint_holds_half_precision_and_is_small() -> None:
    opened = open_checkpoint(builtin_checkpoint(), CHARACTER_VARIANT)
    tables = (
        opened.denoising,
        opened.motion,
        opened.reference,
        opened.landmark,
        opened.vae,
        opened.audio,
    )
    assert {tensor.dtype for table in tables for tensor in table.values()} == {"float16"}
    files = [path for path in builtin_checkpoint().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST_CHECKPOINT
    assert set(files) == set(opened.files()), "a file that nothing reads"


def test_the_portraits_crop_is_the_whole_picture_as_in_training() -> None:
    portrait = read_portrait(builtin_portrait())
    assert crop_face(portrait, builtin_face_box(), size=CHARACTER_SIZE).rect == (0, 0, 512, 512)


def test_the_voice_lasts_six_seconds_at_16_khz_and_begins_and_ends_in_silence() -> None:
    with wave.open(str(builtin_voice())) as voice:
        assert voice.getparams()[:3] == (1, 2, 16_000)
        samples = np.frombuffer(voice.readframes(voice.getnframes()), "<i2")
    assert 5.8 <= samples.size / 16_000 <= 6.2
    assert not samples[:4000].any()
    assert not samples[-4000:].any()
    assert np.abs(samples).max() > 8000


def test_the_built_in_folder_is_known_however_it_is_spelled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(builtin_checkpoint().parent)
    assert is_builtin(Path("checkpoint"))
    assert is_builtin(builtin_checkpoint() / "sd-vae-ft-mse" / "..")
    assert not is_builtin(tmp_path)


def test_an_installation_without_the_files_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(assets, "_DATA", tmp_path)
    with pytest.raises(
        CheckpointError, match=f"{tmp_path}/checkpoint: the built-in character is missing"
    ):
        builtin_checkpoint()
    for find in (builtin_portrait, builtin_voice):
        with pytest.raises(InputError, match=f"{tmp_path}/.*: missing from this installation"):
            find()


def test_a_checkpoint_that_is_named_is_taken_whether_it_is_there_or_not(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "nowhere") == tmp_path / "nowhere"


def test_official_weights_in_the_working_directory_come_before_the_characters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(None) == builtin_checkpoint()
    (tmp_path / "pretrained_weights").mkdir()
    assert find_checkpoint(None) == Path("pretrained_weights")


def test_the_character_is_built_at_its_own_size_where_none_is_asked_for() -> None:
    assert suit_character(BuildSettings("acc")).size == CHARACTER_SIZE
    assert suit_character(BuildSettings("acc", size=(256, 256))).size == (256, 256)


def test_the_character_takes_its_own_steps_where_none_are_asked_for() -> None:
    suited = suit_character(BuildSettings("acc"))
    assert (suited.steps, suited.live_steps) == (CHARACTER_STEPS, CHARACTER_LIVE_STEPS)
    asked = suit_character(BuildSettings("acc", steps=4))
    assert (asked.steps, asked.live_steps) == (4, None)


@pytest.mark.parametrize("variant", ["base", "pose", "pose_acc"])
def test_the_character_comes_as_one_variant_only(variant: str) -> None:
    with pytest.raises(SettingError, match=f"variant '{variant}': the built-in demo character"):
        suit_character(BuildSettings(variant))
