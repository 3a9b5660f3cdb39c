"""A checkpoint folder.

Which file wins, and every mismatch named by file, key, wanted and found shape.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import Checkpoint, current_vae_name, open_checkpoint
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.export.subnets.random_checkpoint import write_random_checkpoint
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import CheckpointError, UnknownNameError

DENOISING = "denoising_unet_acc.safetensors"
MOTION = "motion_module_acc.safetensors"
REFERENCE = "reference_unet.safetensors"
LOCATOR = "face_locator.pth"
WHISPER = "audio_processor/whisper_tiny.pt"
VAE = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"
BASE = "sd-image-variations-diffusers/unet/diffusion_pytorch_model.bin"

PLAIN = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight"
AUDIO = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
MOVING = "mid_block.motion_modules.0.temporal_transformer.proj_in.weight"


def weights(checkpoint: Checkpoint, network: str) -> dict[str, Any]:
    return checkpoint.weights(
        network, wanted_shapes(build_network(network, checkpoint.architecture))
    )


def read(checkpoint: Checkpoint, network: str, key: str) -> np.ndarray:
    return np.asarray(weights(checkpoint, network)[key].read())


def refusal(checkpoint: Checkpoint, network: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        weights(checkpoint, network)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_architecture_is_read_off_the_files(draft: Any, micro: Architecture) -> None:
    assert draft.open().architecture == micro


def test_every_network_gets_every_value_from_its_file(draft: Any) -> None:
    checkpoint = draft.open()
    sources = {
        "vae_encoder": VAE,
        "vae_decoder": VAE,
        "landmark_encoder": LOCATOR,
        "reference_unet": REFERENCE,
        "denoising_unet": DENOISING,
    }
    for network, file in sources.items():
        for key, tensor in weights(checkpoint, network).items():
            source = MOTION if "motion_modules" in key else DENOISING if ".reader." in key else file
            name = key.replace(".reader.", ".attn1.")
            assert tensor.file == checkpoint.folder / source
            np.testing.assert_array_equal(tensor.read(), draft.tables[source][name].numpy())


@pytest.mark.parametrize("variant", ["base", "pose_acc"])
def test_tiny_variants_hold_all_six_networks(tiny_checkpoint: Path, variant: str) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint, variant)
    for network in FAMILY.required:
        assert weights(checkpoint, network)
    assert (
        checkpoint.ignored_keys(
            wanted_shapes(build_network("denoising_unet", checkpoint.architecture))
        )
        == {}
    )
    assert {path.name for path in checkpoint.files()} >= {
        "config.json",
        f"{checkpoint.variant.denoising}.pth",
    }


# Which file wins.


def test_the_denoising_file_wins_over_the_motion_file_and_the_base(draft: Any) -> None:
    shape = draft.tables[DENOISING][PLAIN].shape
    draft.tables[DENOISING][PLAIN] = torch.full(shape, 1.0)
    draft.tables[MOTION][PLAIN] = torch.full(shape, 2.0)
    draft.tables[BASE] = {PLAIN: torch.full(shape, 3.0)}
    assert read(draft.open(), "denoising_unet", PLAIN).max() == 1.0


def test_the_denoising_file_wins_over_the_motion_file_on_motion_keys_too(draft: Any) -> None:
    draft.tables[DENOISING][MOVING] = torch.full(draft.tables[MOTION][MOVING].shape, 1.0)
    assert read(draft.open(), "denoising_unet", MOVING).max() == 1.0


def test_the_motion_file_wins_over_the_base(draft: Any) -> None:
    shape = draft.tables[DENOISING].pop(PLAIN).shape
    draft.tables[MOTION][PLAIN] = torch.full(shape, 2.0)
    draft.tables[BASE] = {PLAIN: torch.full(shape, 3.0)}
    assert read(draft.open(), "denoising_unet", PLAIN).max() == 2.0


def test_the_base_gives_what_the_others_lack(draft: Any) -> None:
    shape = draft.tables[DENOISING].pop(PLAIN).shape
    draft.tables[BASE] = {PLAIN: torch.full(shape, 3.0, dtype=torch.float16)}
    checkpoint = draft.open()
    assert read(checkpoint, "denoising_unet", PLAIN).max() == 3.0
    reader = PLAIN.replace(".attn1.", ".reader.")
    assert read(checkpoint, "reference_unet", reader).max() == 3.0, (
        "the reader is the denoiser's own projection"
    )


def test_a_base_key_that_does_not_fit_is_skipped_and_missed_by_name(draft: Any) -> None:
    draft.tables[BASE] = {AUDIO: torch.ones(8, 768)}
    assert weights(draft.open(), "denoising_unet")[AUDIO].file.name == DENOISING
    draft.tables[DENOISING].pop(AUDIO)
    message = refusal(draft.open(), "denoising_unet")
    assert f"{DENOISING}: missing key {AUDIO!r}, wanted shape [8, 12], found none" in message


def test_a_motion_key_that_does_not_fit_is_refused_even_where_the_base_fits(draft: Any) -> None:
    shape = draft.tables[DENOISING].pop(PLAIN).shape
    draft.tables[MOTION][PLAIN] = torch.ones(3, 3)
    draft.tables[BASE] = {PLAIN: torch.ones(shape)}
    assert f"{MOTION}: key {PLAIN!r}: wanted shape [8, 8], found [3, 3]" in refusal(
        draft.open(), "denoising_unet"
    )


def test_unknown_keys_of_the_denoising_and_motion_files_are_ignored_and_listed(draft: Any) -> None:
    draft.tables[DENOISING]["extra.one"] = torch.ones(2)
    draft.tables[MOTION]["extra.two"] = torch.ones(2)
    checkpoint = draft.open()
    wanted = wanted_shapes(build_network("denoising_unet", checkpoint.architecture))
    assert set(weights(checkpoint, "denoising_unet")) == set(wanted)
    assert {path.name: keys for path, keys in checkpoint.ignored_keys(wanted).items()} == {
        DENOISING: ["extra.one"],
        MOTION: ["extra.two"],
    }


# What does not match.

STRICT = [
    (REFERENCE, "reference_unet"),
    (LOCATOR, "landmark_encoder"),
    (VAE, "vae_encoder"),
    (VAE, "vae_decoder"),
    (WHISPER, "audio_encoder"),
]


def table_of(draft: Any, file: str) -> dict[str, torch.Tensor]:
    table: dict[str, Any] = draft.tables[file]
    return dict(table["model_state_dict"]) if file == WHISPER else table


def put_table(draft: Any, file: str, table: dict[str, torch.Tensor]) -> None:
    if file == WHISPER:
        draft.tables[file]["model_state_dict"] = table
    else:
        draft.tables[file] = table


@pytest.mark.parametrize(("file", "network"), STRICT)
def test_an_unexpected_key_of_a_strict_file_is_refused(draft: Any, file: str, network: str) -> None:
    put_table(draft, file, {**table_of(draft, file), "extra.weight": torch.ones(2, 3)})
    message = refusal(draft.open(), network)
    assert (
        f"{Path(file).name}: unexpected key 'extra.weight', wanted none, found shape [2, 3]"
        in message
    )


FIRST = {
    "denoising_unet": (DENOISING, "conv_in.weight"),
    "reference_unet": (REFERENCE, "conv_in.weight"),
    "landmark_encoder": (LOCATOR, "blocks.1.bias"),
    "vae_encoder": (VAE, "quant_conv.bias"),
    "vae_decoder": (VAE, "post_quant_conv.bias"),
    "audio_encoder": (WHISPER, "encoder.conv1.bias"),
}


@pytest.mark.parametrize("network", FIRST)
def test_a_missing_key_is_refused(draft: Any, network: str) -> None:
    file, key = FIRST[network]
    table = table_of(draft, file)
    shape = list(table.pop(key).shape)
    put_table(draft, file, table)
    assert f"{Path(file).name}: missing key {key!r}, wanted shape {shape}, found none" in refusal(
        draft.open(), network
    )


@pytest.mark.parametrize("network", FIRST)
def test_a_misshapen_key_is_refused(draft: Any, network: str) -> None:
    file, key = FIRST[network]
    table = table_of(draft, file)
    shape = list(table[key].shape)
    put_table(draft, file, {**table, key: torch.ones(2, 9)})
    message = refusal(draft.open(), network)
    assert f"{Path(file).name}: key {key!r}: wanted shape {shape}, found [2, 9]" in message


def test_a_missing_motion_key_is_looked_for_in_the_motion_file(draft: Any) -> None:
    draft.tables[MOTION].pop(MOVING)
    assert f"{MOTION}: missing key {MOVING!r}" in refusal(draft.open(), "denoising_unet")


@pytest.mark.parametrize("file", [DENOISING, MOTION, REFERENCE, LOCATOR, WHISPER, VAE])
def test_a_missing_file_is_refused_with_the_names_it_could_have(draft: Any, file: str) -> None:
    folder = draft.write()
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match="no such file; is th") as caught:
        open_checkpoint(folder, "acc")
    assert f"{Path(file).stem}{{.safetensors,.pth,.pt,.bin}}" in str(caught.value)


def test_a_missing_variant_is_refused_with_the_variants_that_are_there(draft: Any) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"denoising_unet_pose\{.*no such file; this folder has --variant acc$",
    ):
        draft.open("pose")


@pytest.mark.parametrize("file", [DENOISING, MOTION, REFERENCE, LOCATOR, WHISPER, VAE, BASE])
def test_a_truncated_file_is_refused_on_opening(draft: Any, file: str) -> None:
    draft.tables[BASE] = {PLAIN: torch.ones(8, 8)}
    path = draft.write() / file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{path.name}: .*fetch it again"):
        open_checkpoint(draft.folder, "acc")


def test_a_missing_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        open_checkpoint(tmp_path / "nowhere", "acc")


def test_an_unknown_variant_is_refused(draft: Any) -> None:
    with pytest.raises(UnknownNameError, match="fast"):
        open_checkpoint(draft.write(), "fast")


def test_an_unknown_network_is_refused(draft: Any) -> None:
    with pytest.raises(CheckpointError, match="'vae'"):
        draft.open().weights("vae", {})


# Formats and names.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_other_formats_and_precisions_of_the_same_file(
    draft: Any, dtype: torch.dtype, suffix: str
) -> None:
    table = {
        key: value.to(dtype).contiguous() for key, value in draft.tables.pop(REFERENCE).items()
    }
    draft.tables[f"reference_unet{suffix}"] = table
    np.testing.assert_array_equal(
        read(draft.open(), "reference_unet", PLAIN).astype(np.float32), table[PLAIN].float().numpy()
    )


def test_safetensors_win_over_torch_files(draft: Any) -> None:
    folder = draft.write()
    table = {**draft.tables[LOCATOR], "conv_in.bias": torch.full((4,), 5.0)}
    save_file(table, folder / "face_locator.safetensors")
    assert read(open_checkpoint(folder, "acc"), "landmark_encoder", "conv_in.bias").max() == 5.0


def test_old_torch_files_are_read(draft: Any) -> None:
    folder = draft.write()
    (folder / DENOISING).unlink()
    path = folder / "denoising_unet_acc.pth"
    torch.save(draft.tables[DENOISING], path, _use_new_zipfile_serialization=False)
    found = read(open_checkpoint(folder, "acc"), "denoising_unet", PLAIN)
    np.testing.assert_array_equal(found, draft.tables[DENOISING][PLAIN].numpy())


OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def test_old_vae_names_give_the_same_weights(draft: Any) -> None:
    table = draft.tables[VAE]
    old = {}
    for key, value in table.items():
        found = next((new for new in OLD_NAMES if f".attentions.0.{new}." in key), None)
        old[key.replace(f".{found}.", f".{OLD_NAMES[found]}.") if found else key] = value
    assert set(old) != set(table) and {current_vae_name(key) for key in old} == set(table)
    draft.tables[VAE] = old
    checkpoint = draft.open()
    for network in ("vae_encoder", "vae_decoder"):
        for key, tensor in weights(checkpoint, network).items():
            np.testing.assert_array_equal(tensor.read(), table[key].numpy())


def test_the_vae_may_be_a_torch_file(draft: Any) -> None:
    table = draft.tables.pop(VAE)
    draft.tables["sd-vae-ft-mse/diffusion_pytorch_model.bin"] = table
    np.testing.assert_array_equal(
        read(draft.open(), "vae_encoder", "quant_conv.bias"), table["quant_conv.bias"]
    )


def test_the_files_of_a_checkpoint_are_all_it_was_read_from(draft: Any) -> None:
    draft.tables[BASE] = {PLAIN: torch.ones(8, 8)}
    names = {path.relative_to(draft.folder).as_posix() for path in draft.open().files()}
    assert names == {*draft.tables, *draft.configs, "echoexport.yaml"}


def test_the_settings_reach_the_architecture_and_the_variant(draft: Any) -> None:
    draft.settings += "audio_ratio: 1.25\nvae_scaling: 0.5\nsampler: {steps: 4}\n"
    checkpoint = draft.open()
    a = checkpoint.architecture
    assert (a.unet.audio_ratio, a.vae.scaling, checkpoint.variant.steps) == (1.25, 0.5, 4)


def test_without_settings_the_originals_motion_heads_must_fit(draft: Any) -> None:
    draft.settings = None
    with pytest.raises(
        CheckpointError, match=r"motion_norm_groups \(echoexport.yaml\) is 32, .* width 8"
    ):
        draft.open()


# Files that fit alone but not together.


def test_a_face_locator_of_the_other_kind_is_refused(draft: Any) -> None:
    draft.tables[LOCATOR]["conv_in.weight"] = torch.ones(4, 3, 3, 3)
    with pytest.raises(
        CheckpointError, match=r"face_locator\.pth: key 'conv_in.weight': wanted 1 input .*found 3"
    ):
        draft.open()


def test_a_face_locator_for_another_denoiser_is_refused(draft: Any) -> None:
    draft.tables[LOCATOR]["conv_out.weight"] = torch.ones(9, 6, 3, 3)
    with pytest.raises(
        CheckpointError, match=r"'conv_out.weight': wanted 8 output channels .*found 9"
    ):
        draft.open()


def test_a_face_locator_of_another_depth_is_refused(draft: Any) -> None:
    for i in (2, 3):
        draft.tables[LOCATOR][f"blocks.{i}.weight"] = torch.ones(6, 6, 3, 3)
    with pytest.raises(
        CheckpointError, match=r"4 blocks make the feature 4 times smaller .*wanted 2 times"
    ):
        draft.open()


@pytest.mark.parametrize("name", ["in_channels", "out_channels"])
def test_a_unet_for_other_latents_is_refused(draft: Any, name: str) -> None:
    draft.configs["sd-image-variations-diffusers/unet/config.json"][name] = 9
    with pytest.raises(
        CheckpointError, match=rf"config\.json: {name} is 9; the VAE's latents have 4"
    ):
        draft.open()


def test_a_checkpoint_is_not_touched(draft: Any) -> None:
    folder = draft.write()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for network in FAMILY.required:
        weights(open_checkpoint(folder, "acc"), network)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    shutil.rmtree(folder)


def test_a_variant_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "weights", variant="acc")
    with pytest.raises(
        CheckpointError, match=r"denoising_unet_pose\{.*this folder has --variant acc"
    ):
        open_checkpoint(folder, "pose")
