"""EchoMimic v1 as data: its networks, two drives, and specs that fit each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from echoexport.runtime.contract.families.echomimic_v1 import (
    FAMILY,
    LiveSizes,
    MotionTap,
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

LIVE = replace(
    SIZES,
    live=LiveSizes(
        new_frames=2,
        past_frames=3,
        audio_rows=150,
        kept_rows=10,
        motion=(MotionTap("mid_block.motion_modules.0.0", 12, 32),),
    ),
)


def shapes(spec: SubnetSpec) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in (*spec.inputs, *spec.outputs)}


def test_a_bundle_needs_six_networks_and_may_lack_those_for_live() -> None:
    assert len(FAMILY.required) == 6
    assert FAMILY.networks == (*FAMILY.required, "audio_encoder_live", "denoising_unet_live")


def test_every_network_is_described_in_the_familys_order() -> None:
    assert tuple(describe_networks(SIZES, precision="fp32")) == FAMILY.required
    assert tuple(describe_networks(LIVE, precision="fp32")) == FAMILY.networks


def test_the_networks_for_live_read_the_weights_of_the_two_they_stand_for() -> None:
    owners = {name: FAMILY.owner_of(name) for name in FAMILY.networks}
    assert owners == {
        **{name: name for name in FAMILY.required},
        "audio_encoder_live": "audio_encoder",
        "denoising_unet_live": "denoising_unet",
    }


def test_a_denoiser_without_motion_modules_has_no_network_for_live() -> None:
    still = replace(LIVE, live=replace(LIVE.live, motion=()))
    assert "denoising_unet_live" not in describe_networks(still, precision="fp32")


def test_the_live_audio_encoder_gives_chosen_rows_of_what_it_hears() -> None:
    audio = describe_networks(LIVE, precision="fp32")["audio_encoder_live"]
    assert shapes(audio) == {
        "log_mel": (1, 80, 301),
        "chosen_rows": (1, 10, 150),
        "audio_states": (1, 5, 10, 12),
    }


def test_the_live_denoiser_advances_its_new_frames_and_gives_back_the_past_it_takes() -> None:
    specs = describe_networks(LIVE, precision="fp32")
    live = shapes(specs["denoising_unet_live"])
    plain = shapes(specs["denoising_unet"])
    assert live["latents"] == live["velocity"] == (1, 4, 2, 8, 6)
    assert live["audio_tokens"] == (1, 2, 50, 12)
    assert live["face_feature"] == (1, 16, 2, 8, 6)
    assert live["past_gate"] == (1, 3)
    tap = "mid_block.motion_modules.0.0"
    assert live[f"past.{tap}"] == live[f"kept.{tap}"] == (1, 3, 12, 32)
    assert {name for name in plain if name not in live} == set()


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
