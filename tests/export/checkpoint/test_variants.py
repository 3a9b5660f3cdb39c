"""The four variants: which files make them, and how the original samples them."""

from __future__ import annotations

import pytest

from echoexport.export.checkpoint.variants import VARIANTS, find_variant
from echoexport.runtime.errors import UnknownNameError


def test_a_pose_variant_has_files_of_its_own_and_the_others_share_theirs() -> None:
    files = {
        name: (one.denoising, one.motion, one.reference, one.face_locator)
        for name, one in VARIANTS.items()
    }
    assert files == {
        "base": ("denoising_unet", "motion_module", "reference_unet", "face_locator"),
        "acc": ("denoising_unet_acc", "motion_module_acc", "reference_unet", "face_locator"),
        "pose": (
            "denoising_unet_pose",
            "motion_module_pose",
            "reference_unet_pose",
            "face_locator_pose",
        ),
        "pose_acc": (
            "denoising_unet_pose_acc",
            "motion_module_pose_acc",
            "reference_unet_pose",
            "face_locator_pose",
        ),
    }


@pytest.mark.parametrize(("name", "steps", "guidance"), [("base", 30, 2.5), ("acc", 6, 1.0)])
def test_a_distilled_variant_takes_six_steps_without_guidance(
    name: str, steps: int, guidance: float
) -> None:
    for variant in (find_variant(name), find_variant("pose_acc" if name == "acc" else "pose")):
        assert (variant.steps, variant.guidance) == (steps, guidance)


def test_noise_is_clamped_for_masks_alone_and_windows_move_further_for_poses() -> None:
    kinds = {one.face: (one.noise_clamp, one.window_shift) for one in VARIANTS.values()}
    assert kinds == {"mask": (1.5, 2), "pose": (None, 3)}


def test_an_unknown_variant_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown variant 'fast'; known: acc, base, pose"):
        find_variant("fast")
