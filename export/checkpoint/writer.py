"""A checkpoint folder in the official layout, written from an architecture and tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.checkpoint.layout import UNET_FOLDER, VAE_FOLDER, WHISPER_STEM
from echoexport.export.checkpoint.settings import SETTINGS_NAME
from echoexport.export.checkpoint.variants import find_variant
from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.aside import refuse_output, replaced_folder

Tensors = Callable[[str], Mapping[str, torch.Tensor]]
"""The tensors of the network so called, by the names its module has."""


@dataclass(frozen=True)
class CheckpointContents:
    """What to write. ``mark`` is the first line of its settings file.

    Only a folder that bears it is ever replaced.
    """

    architecture: Architecture
    variant: str
    mark: str
    sampler: Mapping[str, float] = field(default_factory=dict)
    """Settings over the variant's own, see :class:`CheckpointSettings`."""


def write_checkpoint(folder: Path, wanted: CheckpointContents, tensors: Tensors) -> Path:
    """Write every file that one variant needs; a folder with the same mark is replaced, at the end.

    One network's tensors are asked for at a time. Returns ``folder``.

    Raises:
        OutputError: the folder holds anything but an earlier checkpoint of ours, or
            cannot be written.
    """
    _refuse_foreign(folder, mark=wanted.mark)
    try:
        with replaced_folder(folder) as aside:
            for path, contents in _list_files(wanted, tensors):
                _write_file(aside / path, contents)
    except (OSError, RuntimeError) as error:  # torch has its own error for a disk that is full
        raise refuse_output(folder, error) from error
    return folder


def _refuse_foreign(folder: Path, *, mark: str) -> None:
    """Trained weights took someone a download or a month.

    Only what this module wrote is ever replaced.
    """
    try:
        free = not folder.exists() or not any(folder.iterdir())
        ours = free or (folder / SETTINGS_NAME).read_bytes().startswith(mark.encode())
    except OSError:
        ours = False
    if not ours:
        raise OutputError(f"{folder}: already there, and not weights of ours; name another folder")


def _write_file(path: Path, contents: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(contents, str):
        path.write_text(contents, encoding="utf-8")
    else:
        torch.save(contents, path)


def _list_files(wanted: CheckpointContents, tensors: Tensors) -> Iterator[tuple[Path, object]]:
    """(path, text or what ``torch.save`` takes), one at a time.

    So only one file's weights are in memory at once.
    """
    a = wanted.architecture
    chosen = find_variant(wanted.variant)
    yield UNET_FOLDER / "config.json", json.dumps(_unet_config(a.unet), indent=1)
    yield VAE_FOLDER / "config.json", json.dumps(_vae_config(a.vae), indent=1)
    yield Path(SETTINGS_NAME), _settings_text(wanted)
    denoising = dict(tensors("denoising_unet"))
    motion = {key: denoising.pop(key) for key in list(denoising) if "motion_modules" in key}
    yield Path(f"{chosen.denoising}.pth"), denoising
    yield Path(f"{chosen.motion}.pth"), motion
    del denoising, motion
    reference = {k: v for k, v in tensors("reference_unet").items() if ".reader." not in k}
    yield Path(f"{chosen.reference}.pth"), reference
    del reference
    yield Path(f"{chosen.face_locator}.pth"), dict(tensors("landmark_encoder"))
    vae = {**tensors("vae_encoder"), **tensors("vae_decoder")}
    yield VAE_FOLDER / "diffusion_pytorch_model.bin", vae
    audio = {"dims": _whisper_dims(a.audio), "model_state_dict": dict(tensors("audio_encoder"))}
    yield Path(f"{WHISPER_STEM}.pt"), audio


def _unet_config(u: UNetArchitecture) -> dict[str, object]:
    return {
        "act_fn": "silu",
        "attention_head_dim": list(u.heads),
        "block_out_channels": list(u.widths),
        "down_block_types": [
            "CrossAttnDownBlock2D" if has else "DownBlock2D" for has in u.down_attention
        ],
        "up_block_types": ["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in u.up_attention],
        "in_channels": u.in_channels,
        "out_channels": u.out_channels,
        "layers_per_block": u.layers_per_block,
        "norm_eps": u.norm_eps,
        "norm_num_groups": u.norm_groups,
        "use_linear_projection": u.linear_projection,
    }


def _vae_config(v: VAEArchitecture) -> dict[str, object]:
    return {
        "act_fn": "silu",
        "block_out_channels": list(v.widths),
        "in_channels": v.picture_channels,
        "out_channels": v.picture_channels,
        "latent_channels": v.latent_channels,
        "layers_per_block": v.layers_per_block,
        "norm_num_groups": v.norm_groups,
    }


def _whisper_dims(a: AudioArchitecture) -> dict[str, int]:
    return {
        "n_mels": a.mels,
        "n_audio_ctx": a.context,
        "n_audio_state": a.width,
        "n_audio_head": a.heads,
        "n_audio_layer": a.layers,
    }


def _settings_text(wanted: CheckpointContents) -> str:
    a = wanted.architecture
    motion = wanted.architecture.unet.motion
    if motion is None:
        raise ValueError("a checkpoint has motion modules")
    lines = [
        wanted.mark,
        f"motion_heads: {motion.heads}",
        f"motion_norm_groups: {motion.norm_groups}",
        f"audio_ratio: {a.unet.audio_ratio}",
        f"vae_scaling: {a.vae.scaling}",
        *(["sampler:"] if wanted.sampler else []),
        *(f"  {key}: {value}" for key, value in wanted.sampler.items()),
    ]
    return "\n".join(lines) + "\n"
