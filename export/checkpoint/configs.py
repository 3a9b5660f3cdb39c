"""From config files and tensor shapes to an :class:`Architecture`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from echoexport.export.architecture import (
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.checkpoint.first_bytes import name_instead_of_text
from echoexport.export.checkpoint.settings import CheckpointSettings
from echoexport.export.checkpoint.tensor_files import TensorFile
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.files.json_file import read_json


def read_config(path: Path) -> dict[str, Any]:
    """A ``config.json``.

    Raises:
        CheckpointError: missing, not JSON, or not an object.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        config = read_json(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        instead = name_instead_of_text(path)
        raise CheckpointError(f"{path}: {instead or f'not readable JSON: {error}'}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: holds a {type(config).__name__}; an object is wanted")
    return config


def read_unet(
    path: Path,
    denoising: Mapping[str, Any],
    motion: Mapping[str, Any],
    *,
    settings: CheckpointSettings,
) -> UNetArchitecture:
    """The denoising UNet's sizes; the reference UNet has the same without motion and audio.

    ``denoising`` and ``motion`` are tables of stored tensors by key; ``path`` is the
    base UNet's config.json.
    """
    config = read_config(path)
    _require_usual(path, config)
    widths = _whole_numbers(path, config, "block_out_channels")
    down_types, up_types = _read_block_types(path, config, levels=len(widths))
    groups = _field(path, config, "norm_num_groups", int)
    heads = _read_heads(path, config, widths=widths)
    _check_division(path, "norm_num_groups", widths, [groups] * len(widths))
    _check_division(path, "attention_head_dim (the number of heads)", widths, heads)
    return UNetArchitecture(
        widths=widths,
        heads=heads,
        layers_per_block=_field(path, config, "layers_per_block", int),
        down_attention=_read_attention(
            path, down_types, known=("CrossAttnDownBlock2D", "DownBlock2D")
        ),
        up_attention=_read_attention(path, up_types, known=("CrossAttnUpBlock2D", "UpBlock2D")),
        in_channels=_field(path, config, "in_channels", int),
        out_channels=_field(path, config, "out_channels", int),
        norm_groups=groups,
        norm_eps=float(_field(path, {"norm_eps": 1e-5, **config}, "norm_eps", float)),
        audio_width=_find_audio_width(path, denoising),
        audio_ratio=settings.audio_ratio,
        linear_projection=_read_flag(path, config, "use_linear_projection"),
        motion=_read_motion(path, {**denoising, **motion}, widths=widths, settings=settings),
    )


def _require_usual(path: Path, config: dict[str, Any]) -> None:
    """What our UNets do in one way alone."""
    _require(path, config, act_fn="silu", flip_sin_to_cos=True, freq_shift=0, downsample_padding=1)
    _require(
        path,
        config,
        mid_block_scale_factor=1,
        center_input_sample=False,
        resnet_time_scale_shift="default",
    )
    _require(path, config, only_cross_attention=False, dual_cross_attention=False)


def _read_block_types(
    path: Path, config: dict[str, Any], *, levels: int
) -> tuple[list[Any], list[Any]]:
    """The kinds of the blocks down and up, one for each level."""
    down, up = (_field(path, config, f"{way}_block_types", list) for way in ("down", "up"))
    if not levels == len(down) == len(up):
        raise CheckpointError(
            f"{path}: {levels} block_out_channels, {len(down)} down and {len(up)} up blocks; "
            "as many of each are wanted"
        )
    return down, up


def _read_heads(path: Path, config: dict[str, Any], *, widths: tuple[int, ...]) -> tuple[int, ...]:
    """``attention_head_dim`` is, by the old library's misnomer, the number of heads.

    One number or one a level.
    """
    value = config.get("attention_head_dim", 8)
    heads = tuple(value) if isinstance(value, list) else (value,) * len(widths)
    if len(heads) != len(widths) or not all(type(h) is int and h > 0 for h in heads):
        raise CheckpointError(
            f"{path}: attention_head_dim is {value!r}; wanted one number, or {len(widths)}"
        )
    return heads


def _read_flag(path: Path, config: dict[str, Any], name: str) -> bool:
    value = config.get(name, False)
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: {name} is {value!r}; wanted true or false")
    return value


def _read_attention(path: Path, types: list[str], *, known: tuple[str, str]) -> tuple[bool, ...]:
    for name in types:
        if name not in known:
            raise CheckpointError(f"{path}: block type {name!r}; known: {', '.join(known)}")
    return tuple(name == known[0] for name in types)


def _read_motion(
    path: Path, tensors: Mapping[str, Any], *, widths: tuple[int, ...], settings: CheckpointSettings
) -> MotionArchitecture:
    keys = [key for key in tensors if "motion_modules" in key]
    table = next((tensors[key] for key in keys if key.endswith(".pe")), None)
    if table is None or len(table.shape) != 3:
        raise CheckpointError(
            f"{path.parents[2]}: the motion module's file holds no 3-D '*.pos_encoder.pe' "
            "table; fetch the whole file"
        )
    _check_division(
        path, "motion_heads (echoexport.yaml)", widths, [settings.motion_heads] * len(widths)
    )
    _check_division(
        path,
        "motion_norm_groups (echoexport.yaml)",
        widths,
        [settings.motion_norm_groups] * len(widths),
    )
    levels = range(len(widths))
    return MotionArchitecture(
        heads=settings.motion_heads,
        norm_groups=settings.motion_norm_groups,
        max_frames=int(table.shape[1]),
        attention_blocks=_count(keys, r"\.attention_blocks\.(\d+)\."),
        transformer_blocks=_count(keys, r"\.temporal_transformer\.transformer_blocks\.(\d+)\."),
        down=tuple(any(key.startswith(f"down_blocks.{i}.") for key in keys) for i in levels),
        mid=any(key.startswith("mid_block.") for key in keys),
        up=tuple(any(key.startswith(f"up_blocks.{i}.") for key in keys) for i in levels),
    )


def read_vae(path: Path, *, settings: CheckpointSettings) -> VAEArchitecture:
    """The VAE's sizes, from its config.json."""
    config = read_config(path)
    _require(path, config, act_fn="silu")
    widths = _whole_numbers(path, config, "block_out_channels")
    groups = _field(path, config, "norm_num_groups", int)
    _check_division(path, "norm_num_groups", widths, [groups] * len(widths))
    return VAEArchitecture(
        widths=widths,
        layers_per_block=_field(path, config, "layers_per_block", int),
        picture_channels=_field(path, config, "in_channels", int),
        latent_channels=_field(path, config, "latent_channels", int),
        norm_groups=groups,
        scaling=settings.vae_scaling,
    )


def read_audio(file: TensorFile) -> AudioArchitecture:
    """The audio encoder's sizes, from the ``dims`` that lie beside its weights."""
    names = {
        "mels": "n_mels",
        "context": "n_audio_ctx",
        "width": "n_audio_state",
        "heads": "n_audio_head",
        "layers": "n_audio_layer",
    }
    dims = file.extras.get("dims")
    if not isinstance(dims, dict):
        raise CheckpointError(
            f"{file.path}: holds no 'dims'; wanted {{'dims': ..., 'model_state_dict': ...}}"
        )
    sizes = {ours: _field(file.path, dims, theirs, int) for ours, theirs in names.items()}
    _check_division(file.path, "n_audio_head", (sizes["width"],), [sizes["heads"]])
    return AudioArchitecture(**sizes)


def read_landmark(file: TensorFile) -> LandmarkArchitecture:
    """The face locator's sizes, all from its tensors."""
    shapes = {key: tensor.shape for key, tensor in file.items()}
    count = _count(shapes, r"^blocks\.(\d+)\.weight$")
    wanted = ["conv_in.weight", "conv_out.weight", *(f"blocks.{i}.weight" for i in range(count))]
    for key in wanted:
        if len(shapes.get(key, ())) != 4:
            raise CheckpointError(f"{file.path}: {key!r} is missing or no 4-D convolution weight")
    if count == 0:
        raise CheckpointError(f"{file.path}: holds no 'blocks.0.weight'; a face locator is wanted")
    return LandmarkArchitecture(
        in_channels=shapes["conv_in.weight"][1],
        stem=shapes["conv_in.weight"][0],
        channels=tuple(shapes[f"blocks.{i}.weight"][0] for i in range(count)),
        out_channels=shapes["conv_out.weight"][0],
    )


def _count(keys: Iterable[str], pattern: str) -> int:
    """How many numbered parts: one more than the largest number that ``pattern`` finds."""
    numbers = [int(match.group(1)) for key in keys if (match := re.search(pattern, key))]
    return max(numbers, default=-1) + 1


def _find_audio_width(path: Path, tensors: Mapping[str, Any]) -> int:
    for key, tensor in tensors.items():
        if key.endswith("attn2.to_k.weight") and len(tensor.shape) == 2:
            return int(tensor.shape[1])
    raise CheckpointError(
        f"{path.parents[2]}: the denoising UNet's file holds no 2-D '*.attn2.to_k.weight'"
    )


def _field(path: Path, config: Mapping[str, Any], name: str, kind: type) -> Any:
    value: Any = config.get(name)
    kinds = (int, float) if kind is float else (kind,)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if fits and (kind is list or 0 < value < math.inf):
        return value
    raise CheckpointError(
        f"{path}: {name} is {value!r}; wanted a {'positive ' * (kind is not list)}{kind.__name__}"
    )


def _whole_numbers(path: Path, config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    values = _field(path, config, name, list)
    if not values or not all(type(v) is int and v > 0 for v in values):
        raise CheckpointError(f"{path}: {name} is {values!r}; wanted positive whole numbers")
    return tuple(values)


def _require(path: Path, config: Mapping[str, Any], **wanted: Any) -> None:
    """A setting that changes the arithmetic must be the one we implement, or absent."""
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise CheckpointError(
                f"{path}: {name} is {config[name]!r}; only {value!r} is supported"
            )


def _check_division(path: Path, what: str, widths: Iterable[int], parts: Iterable[int]) -> None:
    for width, part in zip(widths, parts, strict=True):
        if width % part:
            raise CheckpointError(
                f"{path}: {what} is {part}, which does not divide the width {width}"
            )
