"""EchoMimic v1 as data: six networks, two drives, and specs that fit each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from echoexport.runtime.contract.families.echomimic_v1 import (
    FAMILY,
    NetworkSizes,
    ReferenceTap,
    describe_networks,
)
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec

SIZES = NetworkSizes(
    height=64,
    width=48,
    picture_channels=3,
    frames=5,
    latent_channels=4,
    latent_height=8,
    latent_width=6,
    time_width=16,
    mels=80,
    audio_context=1500,
    audio_states=5,
    audio_tokens=50,
    audio_width=12,
    face_channels=3,
    face_frames=5,
    reference=(ReferenceTap("down_blocks.0", 48, 16), ReferenceTap("mid_block", 12, 32)),
)


def shapes(spec: SubnetSpec) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in (*spec.inputs, *spec.outputs)}


def test_a_bundle_needs_all_six_networks() -> None:
    assert len(FAMILY.networks) == 6
    assert FAMILY.required == FAMILY.networks


def test_every_network_is_described_in_the_familys_order() -> None:
    assert tuple(describe_networks(SIZES, precision="fp32")) == FAMILY.networks


def test_a_mask_is_grey_and_still_and_poses_are_coloured_and_move() -> None:
    drives = [(drive.name, drive.channels, drive.every_frame) for drive in FAMILY.drives]
    assert drives == [("mask", 1, False), ("pose", 3, True)]


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("fp16", "float16")])
def test_a_precision_is_the_dtype_of_every_tensor(precision: str, dtype: str) -> None:
    for spec in describe_networks(SIZES, precision=precision).values():
        assert {tensor.dtype for tensor in (*spec.inputs, *spec.outputs)} == {dtype}
        assert (spec.stored, spec.tolerances) == (precision, TOLERANCES)


def test_the_denoiser_reads_what_the_reference_network_gives() -> None:
    specs = describe_networks(SIZES, precision="fp32")
    given = specs["reference_unet"].outputs
    assert {tensor.name for tensor in given} == {
        f"reference_{kind}.{tap.path}" for tap in SIZES.reference for kind in ("key", "value")
    }
    assert set(given) <= set(specs["denoising_unet"].inputs)


def test_the_denoiser_takes_one_face_feature_or_one_a_frame() -> None:
    moving = describe_networks(SIZES, precision="fp32")["denoising_unet"]
    still = describe_networks(replace(SIZES, face_frames=1), precision="fp32")["denoising_unet"]
    assert shapes(moving)["face_feature"] == (1, 16, 5, 8, 6)
    assert shapes(still)["face_feature"] == (1, 16, 1, 8, 6)


def test_a_picture_comes_back_from_its_latents_at_its_size() -> None:
    specs = describe_networks(SIZES, precision="fp32")
    assert specs["vae_encoder"].inputs == specs["vae_decoder"].outputs
    assert specs["vae_encoder"].outputs == specs["vae_decoder"].inputs


def test_the_audio_encoder_gives_a_row_for_two_mel_columns() -> None:
    audio = describe_networks(SIZES, precision="fp32")["audio_encoder"]
    assert shapes(audio) == {"log_mel": (1, 80, 3000), "audio_states": (1, 5, 1500, 12)}
