"""A checkpoint of random weights in the official layout, for the demo, tests and benchmarks."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.checkpoint.reader import UNET_FOLDER, VAE_FOLDER, WHISPER_STEM
from echoexport.export.checkpoint.settings import FILE_NAME
from echoexport.export.checkpoint.variants import find_variant
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.errors import OutputError
from echoexport.runtime.sinks import name_staging, refuse_output

TINY = Architecture(
    unet=UNetArchitecture(
        widths=(32, 32, 64, 64), heads=(2, 2, 2, 2), layers_per_block=2,
        down_attention=(True, True, True, False), up_attention=(False, True, True, True),
        in_channels=4, out_channels=4, norm_groups=8, norm_eps=1e-5, audio_width=96, audio_ratio=3.0,
        linear_projection=False,
        motion=MotionArchitecture(
            heads=2, norm_groups=8, max_frames=32, attention_blocks=2, transformer_blocks=1,
            down=(True,) * 4, mid=True, up=(True,) * 4,
        ),
    ),
    vae=VAEArchitecture(
        widths=(16, 32, 32, 64), layers_per_block=1, picture_channels=3, latent_channels=4, norm_groups=8,
        scaling=0.18215,
    ),
    audio=AudioArchitecture(mels=80, context=1500, width=96, heads=2, layers=2),
    landmark=LandmarkArchitecture(in_channels=1, stem=16, channels=(16, 32, 32, 64, 64, 64), out_channels=32),
)  # fmt: skip

_MARK = "# Random weights, made by echoexport to try the whole path: not a trained checkpoint."


def write_random_checkpoint(
    folder: Path, *, architecture: Architecture = TINY, variant: str = "acc", seed: int = 0
) -> Path:
    """Write every file that one variant needs; an older folder of random weights is replaced, at the end.

    Weights are normal, scaled by fan-in so that values keep their size from layer to layer; gains are about 1,
    position tables are the sinusoids that trained checkpoints carry. Returns ``folder``.

    Raises:
        OutputError: the folder holds anything but random weights, or cannot be written.
    """
    _refuse_foreign(folder)
    aside = name_staging(folder)
    try:
        for path, contents in _plan_files(architecture, variant, seed=seed):
            _write_file(aside / path, contents)
        _take_place(aside, folder)
    except (OSError, RuntimeError) as error:  # torch has its own error for a disk that is full
        raise refuse_output(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _refuse_foreign(folder: Path) -> None:
    """Trained weights took someone a download or a month: only what this module wrote is ever replaced."""
    try:
        free = not folder.exists() or not any(folder.iterdir())
        ours = free or (folder / FILE_NAME).read_bytes().startswith(_MARK.encode())
    except OSError:
        ours = False
    if not ours:
        raise OutputError(f"{folder}: already there, and not random weights of ours; name another folder")


def _write_file(path: Path, contents: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(contents, str):
        path.write_text(contents, encoding="utf-8")
    else:
        torch.save(contents, path)


def _take_place(aside: Path, folder: Path) -> None:
    """Swap the new folder in; an interrupt between the renames puts the old one back."""
    if not folder.exists():
        aside.rename(folder)
        return
    old = name_staging(folder)
    try:
        folder.rename(old)
        aside.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _plan_files(a: Architecture, variant: str, *, seed: int) -> Iterator[tuple[Path, object]]:
    """(path, text or what ``torch.save`` takes), one at a time, so that one file's weights are in memory at once."""
    chosen = find_variant(variant)
    yield UNET_FOLDER / "config.json", json.dumps(_unet_config(a.unet), indent=1)
    yield VAE_FOLDER / "config.json", json.dumps(_vae_config(a.vae), indent=1)
    yield Path(FILE_NAME), _settings_text(a)
    denoising = _random_tensors(a, "denoising_unet", seed=seed)
    motion = {key: denoising.pop(key) for key in list(denoising) if "motion_modules" in key}
    yield Path(f"{chosen.denoising}.pth"), denoising
    yield Path(f"{chosen.motion}.pth"), motion
    del denoising, motion
    reference = _random_tensors(a, "reference_unet", seed=seed)
    yield Path(f"{chosen.reference}.pth"), {k: v for k, v in reference.items() if ".reader." not in k}
    del reference
    yield Path(f"{chosen.face_locator}.pth"), _random_tensors(a, "landmark_encoder", seed=seed)
    vae = {**_random_tensors(a, "vae_encoder", seed=seed), **_random_tensors(a, "vae_decoder", seed=seed)}
    yield VAE_FOLDER / "diffusion_pytorch_model.bin", vae
    audio = {"dims": _whisper_dims(a.audio), "model_state_dict": _random_tensors(a, "audio_encoder", seed=seed)}
    yield Path(f"{WHISPER_STEM}.pt"), audio


def _random_tensors(a: Architecture, network: str, *, seed: int) -> dict[str, torch.Tensor]:
    shapes = wanted_shapes(build_network(network, a))
    return {
        key: torch.from_numpy(_random_values(f"{seed}:{network}:{key}", key, shape)) for key, shape in shapes.items()
    }


def _random_values(name: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor, a function of its name and shape alone."""
    if key.endswith((".pe", "positional_embedding")):
        return _sinusoids(shape)
    words = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = np.random.Generator(np.random.PCG64(words)).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        values /= np.float32(math.sqrt(math.prod(shape[1:])))
        return values
    return np.asarray(values * np.float32(0.05) + np.float32(key.endswith("weight")))


def _sinusoids(shape: tuple[int, ...]) -> np.ndarray:
    """Rows of alternating sine and cosine, wavelengths from 2 pi to 10000 * 2 pi."""
    length, width = shape[-2:]
    angle = np.arange(length)[:, None] * np.exp(-math.log(10000.0) * np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, -1)[:, :width]
    return table.reshape(shape).astype(np.float32)


def _unet_config(u: UNetArchitecture) -> dict[str, object]:
    return {
        "act_fn": "silu",
        "attention_head_dim": list(u.heads),
        "block_out_channels": list(u.widths),
        "down_block_types": ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in u.down_attention],
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
    return {"n_mels": a.mels, "n_audio_ctx": a.context, "n_audio_state": a.width, "n_audio_head": a.heads,
            "n_audio_layer": a.layers}  # fmt: skip


def _settings_text(a: Architecture) -> str:
    motion = a.unet.motion
    if motion is None:
        raise ValueError("a checkpoint has motion modules")
    return (
        f"{_MARK}\nmotion_heads: {motion.heads}\nmotion_norm_groups: {motion.norm_groups}\n"
        f"audio_ratio: {a.unet.audio_ratio}\nvae_scaling: {a.vae.scaling}\n"
    )
