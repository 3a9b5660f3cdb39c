"""Configs and shapes become an architecture, or an error that names file, setting and value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from echoexport.export.checkpoint.configs import read_config
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.runtime.errors import CheckpointError

UNET = "sd-image-variations-diffusers/unet/config.json"
VAE = "sd-vae-ft-mse/config.json"
WHISPER = "audio_processor/whisper_tiny.pt"
MOTION = "motion_module_acc.safetensors"


def refusal(draft: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        draft.open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_tiny_checkpoints_sizes(tiny_acc: Checkpoint) -> None:
    a = tiny_acc.architecture
    assert (a.unet.widths, a.unet.heads, a.unet.audio_width) == (
        (32, 32, 64, 64),
        (8, 8, 8, 8),
        384,
    )
    assert (a.unet.down_attention, a.unet.up_attention) == (
        (True, True, True, False),
        (False, True, True, True),
    )
    assert a.unet.motion is not None
    assert (a.unet.motion.max_frames, a.unet.motion.attention_blocks, a.unet.motion.heads) == (
        32,
        2,
        8,
    )
    assert (a.audio.mels, a.audio.context, a.audio.width, a.audio.heads, a.audio.layers) == (
        80,
        1500,
        384,
        6,
        4,
    )
    assert (a.landmark.in_channels, a.landmark.stem, a.landmark.channels) == (
        1,
        16,
        (16, 32, 32, 96, 96, 256),
    )
    assert (a.unet.downscale, a.vae.downscale, a.landmark.downscale) == (8, 8, 8)


def test_one_number_of_heads_counts_for_every_level(draft: Any) -> None:
    draft.configs[UNET]["attention_head_dim"] = 4
    assert draft.open().architecture.unet.heads == (4, 4)


def test_settings_that_may_be_absent_have_the_librarys_defaults(draft: Any) -> None:
    for name in ("norm_eps", "act_fn"):
        del draft.configs[UNET][name]
    unet = draft.open().architecture.unet
    assert (unet.norm_eps, unet.linear_projection) == (1e-5, False)


def test_motion_modules_are_where_the_file_has_them(draft: Any) -> None:
    table = draft.tables[MOTION]
    draft.tables[MOTION] = {
        k: v for k, v in table.items() if not k.startswith(("mid_block", "up_blocks.0"))
    }
    motion = draft.open().architecture.unet.motion
    assert (motion.down, motion.mid, motion.up) == ((True, True), False, (False, True))


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        (UNET, "block_out_channels", None),
        (UNET, "block_out_channels", []),
        (UNET, "block_out_channels", [8, "16"]),
        (UNET, "block_out_channels", [8, True]),
        (UNET, "block_out_channels", [8, -16]),
        (UNET, "block_out_channels", 8),
        (UNET, "down_block_types", "DownBlock2D"),
        (UNET, "up_block_types", None),
        (UNET, "norm_num_groups", 4.0),
        (UNET, "norm_num_groups", 0),
        (UNET, "norm_num_groups", 3),
        (UNET, "norm_eps", "small"),
        (UNET, "norm_eps", None),
        (UNET, "norm_eps", 0),
        (UNET, "norm_eps", float("nan")),
        (UNET, "layers_per_block", True),
        (UNET, "layers_per_block", [1, 1]),
        (UNET, "in_channels", "4"),
        (UNET, "attention_head_dim", None),
        (UNET, "attention_head_dim", 2.0),
        (UNET, "attention_head_dim", 0),
        (UNET, "attention_head_dim", "22"),
        (UNET, "attention_head_dim", [2]),
        (UNET, "attention_head_dim", [2, None]),
        (UNET, "attention_head_dim", 3),
        (UNET, "use_linear_projection", "false"),
        (UNET, "act_fn", "gelu"),
        (UNET, "freq_shift", 1),
        (UNET, "flip_sin_to_cos", False),
        (UNET, "center_input_sample", True),
        (UNET, "only_cross_attention", True),
        (UNET, "resnet_time_scale_shift", "scale_shift"),
        (VAE, "block_out_channels", [8, 16.5]),
        (VAE, "latent_channels", None),
        (VAE, "norm_num_groups", 5),
        (VAE, "act_fn", "relu"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_named_with_its_value(
    draft: Any, file: str, name: str, value: Any
) -> None:
    draft.configs[file][name] = value
    message = refusal(draft)
    assert f"{file}: {name}" in message
    assert repr(value) in message


@pytest.mark.parametrize("file", [UNET, VAE])
def test_a_missing_setting_is_named(draft: Any, file: str) -> None:
    del draft.configs[file]["layers_per_block"]
    assert f"{file}: layers_per_block is None; wanted a positive int" in refusal(draft)


def test_unknown_block_types_list_the_known(draft: Any) -> None:
    draft.configs[UNET]["down_block_types"] = ["AttnDownBlock2D", "DownBlock2D"]
    assert "block type 'AttnDownBlock2D'; known: CrossAttnDownBlock2D, DownBlock2D" in refusal(
        draft
    )


def test_lists_of_different_lengths_are_refused(draft: Any) -> None:
    draft.configs[UNET]["up_block_types"] = ["UpBlock2D"]
    assert "2 block_out_channels, 2 down and 1 up blocks" in refusal(draft)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not readable"),
        (b"\xff", "not readable"),
        (b"[1]", "holds a list"),
        (b"[" * 9999, "not readable"),
    ],
    ids=["cut", "bytes", "list", "deep"],
)
def test_a_config_that_is_no_json_object_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"config\.json: {problem}"):
        read_config(tmp_path / "config.json")


def test_a_missing_config_is_refused(draft: Any) -> None:
    del draft.configs[VAE]
    assert f"{VAE}: no such file" in refusal(draft)


@pytest.mark.parametrize(
    ("name", "value"), [("n_mels", None), ("n_audio_ctx", 9.5), ("n_audio_layer", 0)]
)
def test_whispers_sizes_are_checked(draft: Any, name: str, value: Any) -> None:
    draft.tables[WHISPER]["dims"][name] = value
    assert f"{WHISPER}: {name} is {value!r}; wanted a positive int" in refusal(draft)


def test_whispers_heads_must_divide_its_width(draft: Any) -> None:
    draft.tables[WHISPER]["dims"]["n_audio_head"] = 5
    assert f"{WHISPER}: n_audio_head is 5, which does not divide the width 12" in refusal(draft)


@pytest.mark.parametrize("dims", [None, 3])
def test_a_whisper_file_without_dims_is_refused(draft: Any, dims: Any) -> None:
    draft.tables[WHISPER]["dims"] = dims
    assert f"{WHISPER}: holds no 'dims'" in refusal(draft)


def test_a_file_that_is_no_face_locator_is_refused(draft: Any) -> None:
    draft.tables["face_locator.pth"] = {"weight": torch.ones(2)}
    assert "face_locator.pth: 'conv_in.weight' is missing" in refusal(draft)


def test_a_face_locator_with_a_gap_is_refused(draft: Any) -> None:
    del draft.tables["face_locator.pth"]["blocks.0.weight"]
    assert "face_locator.pth: 'blocks.0.weight' is missing" in refusal(draft)


@pytest.mark.parametrize("table", [torch.ones(6, 8), None])
def test_a_motion_file_without_position_tables_is_refused(
    draft: Any, table: torch.Tensor | None
) -> None:
    old = draft.tables[MOTION]
    positions = {key: table.clone() for key in old if key.endswith(".pe") and table is not None}
    draft.tables[MOTION] = {**{k: v for k, v in old.items() if not k.endswith(".pe")}, **positions}
    assert "no 3-D '*.pos_encoder.pe' table" in refusal(draft)


@pytest.mark.parametrize("value", [torch.ones(8), None])
def test_a_denoiser_without_audio_attention_is_refused(
    draft: Any, value: torch.Tensor | None
) -> None:
    table = draft.tables["denoising_unet_acc.safetensors"]
    for key in [key for key in table if key.endswith("attn2.to_k.weight")]:
        del table[key]
        if value is not None:
            table[key] = value.clone()
    assert "no 2-D '*.attn2.to_k.weight'" in refusal(draft)
