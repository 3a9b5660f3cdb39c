"""From a picture size and a window to the shapes of the networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.sizes import size_motion, size_networks, size_taps
from echoexport.export.subnets.networks import build_network
from echoexport.export.subnets.unet import ReferenceUNet
from echoexport.runtime.errors import SettingError


def test_the_tiny_checkpoint_at_128_pixels(tiny_acc: Checkpoint) -> None:
    sizes = size_networks(tiny_acc.architecture, size=(128, 96), frames=12, face="mask")
    assert (sizes.width, sizes.height, sizes.latent_width, sizes.latent_height) == (128, 96, 16, 12)
    assert (sizes.audio_states, sizes.audio_tokens, sizes.audio_width) == (5, 50, 384)
    assert len(sizes.reference) == 16
    assert (sizes.reference[0].path, sizes.reference[0].tokens) == (
        "down_blocks.0.attentions.0",
        16 * 12,
    )


@pytest.mark.parametrize("size", [(100, 128), (128, 130), (8, 128), (0, 128), (-16, 128)], ids=str)
def test_sides_that_latents_cannot_tile_are_refused_with_the_nearest_that_fits(
    tiny_acc: Checkpoint, size: tuple[int, int]
) -> None:
    with pytest.raises(
        SettingError, match="a multiple of 8, at least 16, is wanted; try "
    ) as caught:
        size_networks(tiny_acc.architecture, size=size, frames=12, face="mask")
    proposed = int(str(caught.value).rsplit(" ", 1)[1])
    assert proposed >= 16 and proposed % 8 == 0


@pytest.mark.parametrize("frames", [2, 32])
def test_the_shortest_and_the_longest_window_pass(tiny_acc: Checkpoint, frames: int) -> None:
    assert (
        size_networks(tiny_acc.architecture, size=(64, 64), frames=frames, face="mask").frames
        == frames
    )


@pytest.mark.parametrize("frames", [-1, 0, 1, 33])
def test_other_windows_are_refused_with_the_bounds(tiny_acc: Checkpoint, frames: int) -> None:
    with pytest.raises(SettingError, match=f"frames {frames}: the window holds 2 to 32"):
        size_networks(tiny_acc.architecture, size=(64, 64), frames=frames, face="mask")


def test_the_longest_window_is_the_position_tables(micro: Architecture) -> None:
    size_networks(micro, size=(8, 8), frames=6, face="mask")
    with pytest.raises(SettingError, match="2 to 6"):
        size_networks(micro, size=(8, 8), frames=7, face="mask")


def test_a_mask_is_one_frame_and_pose_maps_one_each(micro: Architecture) -> None:
    assert size_networks(micro, size=(8, 8), frames=5, face="mask").face_frames == 1
    assert size_networks(micro, size=(8, 8), frames=5, face="pose").face_frames == 5


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(height=st.integers(1, 19), width=st.integers(1, 19), layers=st.integers(1, 3))
def test_taps_are_those_of_the_network_at_any_latent_size(
    micro: Architecture, height: int, width: int, layers: int
) -> None:
    unet = replace(micro.unet, layers_per_block=layers)
    network: Any = build_network("reference_unet", replace(micro, unet=unet))
    with torch.no_grad():
        taps = ReferenceUNet.forward(network, torch.empty(1, 4, height, width, device="meta"))[1]
    found = [(path, *tap.key.shape[1:]) for path, tap in taps.items()]
    assert [(tap.path, tap.tokens, tap.width) for tap in size_taps(unet, height, width)] == found


def test_of_a_window_for_live_the_last_third_is_new(micro: Architecture) -> None:
    new = {}
    for frames in (2, 3, 6):
        live = size_networks(micro, size=(8, 8), frames=frames, face="mask", live=True).live
        assert live is not None and live.new_frames + live.past_frames == frames
        new[frames] = live.new_frames
    assert new == {2: 1, 3: 1, 6: 2}


def test_a_temporal_attention_has_the_places_and_width_of_its_level(tiny_acc: Checkpoint) -> None:
    unet = tiny_acc.architecture.unet
    taps = size_motion(unet, 6, 5)
    assert len(taps) == 2 * (2 * 4 + 1 + 3 * 4)
    found = {tap.path: (tap.positions, tap.width) for tap in taps}
    assert found["down_blocks.0.motion_modules.0.0"] == (30, unet.widths[0])
    assert found["mid_block.motion_modules.0.1"] == (1, unet.widths[3])
    assert found["up_blocks.2.motion_modules.2.1"] == (9, unet.widths[1])


def test_a_denoiser_without_motion_modules_has_no_temporal_attention(micro: Architecture) -> None:
    assert size_motion(replace(micro.unet, motion=None), 4, 4) == ()


def test_a_short_encoder_is_heard_whole_for_live(micro: Architecture) -> None:
    live = size_networks(micro, size=(8, 8), frames=4, face="mask", live=True).live
    assert live is not None
    assert micro.audio.context < 225
    assert live.audio_rows == micro.audio.context
    assert live.kept_rows == 10  # a frame's own, whatever is heard
