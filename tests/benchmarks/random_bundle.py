"""Bundles of seeded random weights at benchmark sizes, made once and kept: nobody has to download a checkpoint."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.build import BuildSettings, build_bundle
from echoexport.export.sizes import size_networks
from echoexport.export.traces import trace_key
from echoexport.runtime.spec import NETWORKS, describe_networks
from echoexport.targets.spec import load_target

TESTS = Path(__file__).parent.parent
WIDTHS = {
    "tiny": ((32, 32, 64, 64), (32, 32, 64, 64)),
    "half": ((160, 320, 640, 640), (64, 128, 256, 256)),
}
"""UNet and VAE widths by name; the published networks have 320, 640, 1280, 1280 and 128, 256, 512, 512."""

_STEMS = {
    "reference_unet": "reference_unet",
    "denoising_unet": "denoising_unet_acc",
    "motion_module": "motion_module_acc",
    "landmark_encoder": "face_locator",
}


def default_folder() -> Path:
    """``$ECHOEXPORT_CACHE/benchmarks``, else under the user's cache folder."""
    own = os.environ.get("ECHOEXPORT_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "echoexport"
    return base / "benchmarks"


def describe_architecture(size: str) -> Architecture:
    """The six networks with the published layers and other widths."""
    unet, vae = WIDTHS[size]
    motion = MotionArchitecture(8, 32, 32, 2, 1, (True,) * 4, True, (True,) * 4)
    return Architecture(
        unet=UNetArchitecture(
            widths=unet, heads=(8,) * 4, layers_per_block=2, down_attention=(True, True, True, False),
            up_attention=(False, True, True, True), in_channels=4, out_channels=4, norm_groups=32, norm_eps=1e-5,
            audio_width=384, audio_ratio=3.0, linear_projection=False, motion=motion,
        ),
        vae=VAEArchitecture(vae, 2, 3, 4, 32, 0.18215),
        audio=AudioArchitecture(80, 1500, 384, 6, 4),
        landmark=LandmarkArchitecture(1, 16, (16, 32, 32, 96, 96, 256), unet[0]),
    )  # fmt: skip


def make_bundle(size: str, *, pixels: int, frames: int, precision: str = "fp32", folder: Path) -> tuple[Path, Path]:
    """A checkpoint and its bundle under ``folder``, made where they are missing or our export code has changed."""
    architecture = describe_architecture(size)
    checkpoint = folder / f"checkpoint-{size}"
    if not (checkpoint / "complete").is_file():
        say(f"writing a random checkpoint, {size} widths, to {checkpoint}")
        write_checkpoint(architecture, checkpoint)
    sizes = size_networks(architecture, size=(pixels, pixels), frames=frames, face="mask")
    specs = describe_networks(sizes, precision=precision)
    keys = "".join(trace_key(specs[name], architecture) for name in NETWORKS)
    bundle = folder / f"bundle-{size}-{pixels}-{frames}-{precision}-{hashlib.sha256(keys.encode()).hexdigest()[:12]}"
    if not bundle.is_dir():
        settings = BuildSettings("acc", (pixels, pixels), frames, precision, traces=folder / "traces")
        build_bundle(
            checkpoint, bundle, target=load_target("cpu-openvino"), settings=settings,
            report=lambda what, done, total: say(f"build {done}/{total} {what}"),
        )  # fmt: skip
    return checkpoint, bundle


def write_checkpoint(architecture: Architecture, folder: Path) -> None:
    """The official layout: weights named and shaped as our modules want them, valued as the reference ones are."""
    import torch

    from echoexport.export.subnets.networks import build_network, wanted_shapes

    shapes = {name: wanted_shapes(build_network(name, architecture)) for name in NETWORKS}
    denoising = shapes["denoising_unet"]
    tables = {
        "reference_unet": {k: s for k, s in shapes["reference_unet"].items() if ".reader." not in k},
        "denoising_unet": {k: s for k, s in denoising.items() if "motion_modules" not in k},
        "motion_module": {k: s for k, s in denoising.items() if "motion_modules" in k},
        "landmark_encoder": shapes["landmark_encoder"],
    }
    for name, table in tables.items():
        _save(table, _STEMS[name], folder / f"{_STEMS[name]}.safetensors")
    vae = {**shapes["vae_encoder"], **shapes["vae_decoder"]}
    _save(vae, "vae", folder / "sd-vae-ft-mse" / "diffusion_pytorch_model.safetensors")
    values = {key: torch.from_numpy(array) for key, array in _draw(shapes["audio_encoder"], "whisper").items()}
    audio = folder / "audio_processor" / "whisper_tiny.pt"
    audio.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": _describe_audio(architecture.audio), "model_state_dict": values}, audio)
    _write_json(folder / "sd-vae-ft-mse" / "config.json", _describe_vae(architecture.vae))
    _write_json(folder / "sd-image-variations-diffusers" / "unet" / "config.json", _describe_unet(architecture.unet))
    (folder / "complete").touch()


def say(line: str) -> None:
    """Progress, beside the result on stdout."""
    sys.stderr.write(line + "\n")


def _draw(table: dict[str, tuple[int, ...]], stem: str) -> dict[str, np.ndarray]:
    draw = _load_reference().reference_tensor
    return {key: draw(f"{stem}/{key}", shape) for key, shape in table.items()}


def _save(table: dict[str, tuple[int, ...]], stem: str, path: Path) -> None:
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_draw(table, stem), path)


def _load_reference() -> ModuleType:
    path = TESTS / "reference" / "echo_reference.py"
    spec = importlib.util.spec_from_file_location("echo_reference", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: not a module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _describe_audio(a: AudioArchitecture) -> dict[str, int]:
    return {"n_mels": a.mels, "n_audio_ctx": a.context, "n_audio_state": a.width, "n_audio_head": a.heads,
            "n_audio_layer": a.layers}  # fmt: skip


def _describe_vae(a: VAEArchitecture) -> dict[str, object]:
    return {
        "act_fn": "silu", "block_out_channels": list(a.widths), "layers_per_block": a.layers_per_block,
        "in_channels": a.picture_channels, "latent_channels": a.latent_channels, "norm_num_groups": a.norm_groups,
    }  # fmt: skip


def _describe_unet(a: UNetArchitecture) -> dict[str, object]:
    down, up = (
        [f"{'CrossAttn' if has else ''}{way}Block2D" for has in flags]
        for way, flags in (("Down", a.down_attention), ("Up", a.up_attention))
    )
    return {
        "act_fn": "silu", "flip_sin_to_cos": True, "freq_shift": 0, "downsample_padding": 1,
        "mid_block_scale_factor": 1, "center_input_sample": False, "block_out_channels": list(a.widths),
        "down_block_types": down, "up_block_types": up, "attention_head_dim": a.heads[0],
        "layers_per_block": a.layers_per_block, "in_channels": a.in_channels, "out_channels": a.out_channels,
        "norm_num_groups": a.norm_groups, "norm_eps": a.norm_eps,
    }  # fmt: skip


def _write_json(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
