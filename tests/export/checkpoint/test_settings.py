"""``echoexport.yaml``: what it may override, and how strictly it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoexport.export.checkpoint.settings import CheckpointSettings, read_checkpoint_settings
from echoexport.export.checkpoint.variants import VARIANTS, find_variant
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.errors import CheckpointError, UnknownNameError


def read(folder: Path, text: str | bytes) -> CheckpointSettings:
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "echoexport.yaml").write_bytes(content)
    return read_checkpoint_settings(folder)


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "{}"])
def test_without_settings_the_originals_hold(tmp_path: Path, text: str | None) -> None:
    found = read_checkpoint_settings(tmp_path) if text is None else read(tmp_path, text)
    assert found == CheckpointSettings(8, 32, 3.0, 0.18215, SchedulerConfig(), {})


def test_every_number_can_be_overridden(tmp_path: Path) -> None:
    text = "motion_heads: 4\nmotion_norm_groups: 16\naudio_ratio: 2\nvae_scaling: 0.13025\n"
    found = read(tmp_path, text)
    assert found == CheckpointSettings(
        motion_heads=4, motion_norm_groups=16, audio_ratio=2.0, vae_scaling=0.13025
    )
    assert isinstance(found.audio_ratio, float)


def test_the_scheduler_can_be_overridden_in_part(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "scheduler: {beta_schedule: scaled_linear, beta_end: 0.02, rescale_zero_snr: false}",
    )
    assert found.scheduler == SchedulerConfig(
        beta_schedule="scaled_linear", beta_end=0.02, rescale_zero_snr=False
    )


def test_the_sampler_is_laid_over_the_variants(tmp_path: Path) -> None:
    found = read(tmp_path, "sampler: {steps: 4, guidance: 2, noise_clamp: null, window_shift: 1}")
    variant = found.apply_to(find_variant("base"))
    assert (variant.steps, variant.guidance, variant.noise_clamp, variant.window_shift) == (
        4,
        2.0,
        None,
        1,
    )
    assert isinstance(variant.guidance, float)
    assert (variant.denoising, variant.face) == ("denoising_unet", "mask")


@pytest.mark.parametrize(("value", "share"), [("1", 1.0), ("1.0", 1.0), ("0.25", 0.25)])
def test_frames_can_share_their_noise(tmp_path: Path, value: str, share: float) -> None:
    variant = read(tmp_path, f"sampler: {{shared_noise: {value}}}").apply_to(find_variant("acc"))
    assert variant.shared_noise == share
    assert isinstance(variant.shared_noise, float)
    assert find_variant("acc").shared_noise == 0.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("motion_head: 4", "unknown key 'motion_head'; known: motion_heads, "),
        ("scheduler: {steps: 4}", "unknown key 'scheduler.steps'; known: train_steps, "),
        ("sampler: {seed: 4}", "unknown key 'sampler.seed'; known: steps, "),
        ("motion_heads: 4.0", "motion_heads is 4.0; a positive int"),
        ("motion_heads: true", "motion_heads is True"),
        ("motion_heads: '4'", "motion_heads is '4'"),
        ("motion_heads: 0", "motion_heads is 0"),
        ("motion_heads:", "motion_heads is None"),
        ("audio_ratio: -1", "audio_ratio is -1"),
        ("audio_ratio: .inf", "audio_ratio is inf"),
        ("audio_ratio: .nan", "audio_ratio is nan"),
        ("scheduler: linear", "scheduler. is a str; a mapping is wanted"),
        ("scheduler:", "scheduler. is a NoneType"),
        ("scheduler: {train_steps: 10.0}", "scheduler.train_steps is 10.0; a int"),
        ("scheduler: {train_steps: true}", "scheduler.train_steps is True"),
        ("scheduler: {rescale_zero_snr: 1}", "scheduler.rescale_zero_snr is 1; a bool"),
        ("scheduler: {beta_end: .nan}", "betas must satisfy"),
        ("scheduler: {prediction_type: epsilon}", "'epsilon' is not supported"),
        ("scheduler: {beta_start: 2}", "betas must satisfy"),
        ("sampler: {steps: 4.5}", "sampler.steps is 4.5; a whole number"),
        ("sampler: {steps: 0}", "sampler.steps is 0"),
        ("sampler: {steps: null}", "sampler.steps is None"),
        ("sampler: {guidance: high}", "sampler.guidance is 'high'"),
        ("sampler: {noise_clamp: .inf}", "sampler.noise_clamp is inf"),
        (
            "sampler: {shared_noise: 1.01}",
            "sampler.shared_noise is 1.01; a share of at most 1 is wanted",
        ),
        ("sampler: {shared_noise: 2}", "sampler.shared_noise is 2; a share of at most 1"),
        ("sampler: {shared_noise: -0.5}", "sampler.shared_noise is -0.5; a number above 0"),
        ("sampler: {shared_noise: true}", "sampler.shared_noise is True"),
        ("sampler: {shared_noise: null}", "sampler.shared_noise is None"),
        ("sampler: {overlap: 0}", "sampler.overlap is 0; a whole number above 0"),
        ("sampler: {hold: 1.5}", "sampler.hold is 1.5; a whole number above 0"),
        ("sampler: [steps]", "sampler. is a list"),
        ("- 1", "the file is a list; a mapping is wanted"),
        ("[]", "the file is a list"),
        ("false", "the file is a bool"),
        ("motion_heads: [", "not readable YAML"),
        ("motion_heads: 4\nmotion_heads: 8\n", "'motion_heads' is given twice"),
        ("motion_heads: !!python/object/apply:os.getcwd []", "not readable YAML"),
        (b"audio_ratio: \xff", "not readable YAML"),
        ("\x00", "not readable YAML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(
    tmp_path: Path, text: str | bytes, named: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, text)
    assert "echoexport.yaml: " in str(caught.value)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_four_variants_sample_as_the_original_scripts_do() -> None:
    found = {
        v.name: (v.face, v.steps, v.guidance, v.noise_clamp, v.window_shift)
        for v in VARIANTS.values()
    }
    assert found == {
        "base": ("mask", 30, 2.5, 1.5, 2),
        "acc": ("mask", 6, 1.0, 1.5, 2),
        "pose": ("pose", 30, 2.5, None, 3),
        "pose_acc": ("pose", 6, 1.0, None, 3),
    }


def test_an_unknown_variant_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"pose_ac.*pose_acc"):
        find_variant("pose_ac")


def test_overlap_and_hold_are_taken_from_the_file(tmp_path: Path) -> None:
    variant = read(tmp_path, "sampler: {overlap: 1, hold: 2}").apply_to(find_variant("acc"))
    assert (variant.overlap, variant.hold) == (1, 2)
    assert (find_variant("acc").overlap, find_variant("acc").hold) == (3, 0)
