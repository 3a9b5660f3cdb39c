"""A checkpoint folder.

Its files found, its sizes read, and every network's weights matched by name and shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint import configs
from echoexport.export.checkpoint.layout import (
    UNET_FOLDER,
    VAE_FOLDER,
    find_denoising,
    find_file,
    find_part,
    find_whisper,
    require_folder,
)
from echoexport.export.checkpoint.settings import (
    SETTINGS_NAME,
    CheckpointSettings,
    read_checkpoint_settings,
)
from echoexport.export.checkpoint.tensor_files import StoredTensor, TensorFile, open_tensor_file
from echoexport.export.checkpoint.variants import Variant, find_variant
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: tables of tensors by file; no values are in memory."""

    folder: Path
    """In the official layout."""
    variant: Variant
    """With the folder's own settings."""
    settings: CheckpointSettings
    """Of the folder's echoexport.yaml, else the original's."""
    architecture: Architecture
    """Sizes that were read off configs and shapes."""
    denoising: TensorFile
    """The variant's denoising UNet."""
    motion: TensorFile
    """The variant's motion modules."""
    base: TensorFile | None
    """The base UNet, None where it is not there."""
    reference: TensorFile
    """The variant's reference UNet."""
    landmark: TensorFile
    """The face locator."""
    vae: TensorFile
    """Both halves, by today's names."""
    audio: TensorFile
    """Whisper."""

    def files(self) -> list[Path]:
        """Every file that a value or a size came from, settings and configs included."""
        tables = (
            self.denoising,
            self.motion,
            self.base,
            self.reference,
            self.landmark,
            self.vae,
            self.audio,
        )
        paths = [table.path for table in tables if table is not None]
        paths += [
            find_part(self.folder, UNET_FOLDER) / "config.json",
            find_part(self.folder, VAE_FOLDER) / "config.json",
        ]
        settings = self.folder / SETTINGS_NAME
        return paths + ([settings] if settings.is_file() else [])

    def weights(self, network: str, wanted: Shapes) -> dict[str, StoredTensor]:
        """The stored tensor of every parameter that ``network`` has.

        Raises:
            CheckpointError: a key is missing, has another shape, or is there but not
                wanted.
        """
        match network:
            case "denoising_unet":
                return {key: self._denoising_tensor(key, shape) for key, shape in wanted.items()}
            case "reference_unet":
                return self._reference_weights(wanted)
            case "landmark_encoder":
                return match_strictly(self.landmark, wanted)
            case "audio_encoder":
                return match_strictly(
                    self.audio, wanted, ignored=r"^decoder\.|^encoder\.ln_post\.|^alignment_heads$"
                )
            case "vae_encoder":
                return match_strictly(self.vae, wanted, ignored=r"^decoder\.|^post_quant_conv\.")
            case "vae_decoder":
                return match_strictly(self.vae, wanted, ignored=r"^encoder\.|^quant_conv\.")
        raise CheckpointError(f"no network called {network!r}")

    def ignored_keys(self, wanted: Shapes) -> dict[Path, list[str]]:
        """Keys of the denoising and motion files that the denoiser lacks.

        The original loads these files leniently.
        """
        found = {
            table.path: [key for key in table if key not in wanted]
            for table in (self.denoising, self.motion)
        }
        return {path: keys for path, keys in found.items() if keys}

    def _denoising_tensor(self, key: str, shape: tuple[int, ...]) -> StoredTensor:
        """The denoising file's tensor, else the motion file's, else the base UNet's if it fits."""
        if key in self.denoising:
            return _check_shape(self.denoising, key, shape)
        if key in self.motion:
            return _check_shape(self.motion, key, shape)
        if self.base is not None and key in self.base and self.base[key].shape == shape:
            return self.base[key]
        likely = self.motion if "motion_modules" in key else self.denoising
        raise CheckpointError(
            f"{likely.path}: missing key {key!r}, wanted shape {list(shape)}, found none"
        )

    def _reference_weights(self, wanted: Shapes) -> dict[str, StoredTensor]:
        """The reference UNet's own tensors, and its readers.

        Those are the denoiser's key and value projections.
        """
        own = {key: shape for key, shape in wanted.items() if ".reader." not in key}
        weights = match_strictly(self.reference, own)
        for key in wanted.keys() - own.keys():
            weights[key] = self._denoising_tensor(key.replace(".reader.", ".attn1."), wanted[key])
        return {key: weights[key] for key in wanted}


def open_checkpoint(folder: Path, variant: str) -> Checkpoint:
    """Open a folder in the official layout for one variant.

    Raises:
        CheckpointError: a file is missing or broken, or a config says what cannot be
            built. UnknownNameError: no such variant.
    """
    chosen = find_variant(variant)
    require_folder(folder)
    settings = read_checkpoint_settings(folder)
    denoising = open_tensor_file(find_denoising(folder, chosen))
    motion = open_tensor_file(find_file(folder, chosen.motion))
    landmark = open_tensor_file(find_file(folder, chosen.face_locator))
    audio = open_tensor_file(find_whisper(folder))
    vae_folder = find_part(folder, VAE_FOLDER)
    vae = open_tensor_file(find_file(vae_folder, "diffusion_pytorch_model"))
    unet_config = find_part(folder, UNET_FOLDER) / "config.json"
    base = find_file(unet_config.parent, "diffusion_pytorch_model", required=False)
    architecture = Architecture(
        unet=configs.read_unet(unet_config, denoising, motion, settings=settings),
        vae=configs.read_vae(vae_folder / "config.json", settings=settings),
        audio=configs.read_audio(audio),
        landmark=configs.read_landmark(landmark),
    )
    _check_latents(unet_config, architecture)
    _check_face(landmark, architecture, variant=chosen)
    return Checkpoint(
        folder=folder,
        variant=settings.apply_to(chosen),
        settings=settings,
        architecture=architecture,
        denoising=denoising,
        motion=motion,
        base=_open_base(base),
        reference=open_tensor_file(find_file(folder, chosen.reference)),
        landmark=landmark,
        vae=vae.renamed({key: current_vae_name(key) for key in vae}),
        audio=audio,
    )


def _open_base(path: Path | None) -> TensorFile | None:
    return open_tensor_file(path) if path is not None and path.is_file() else None


def current_vae_name(key: str) -> str:
    """Today's name of a VAE key.

    Old files call the attention's layers query, key, value and proj_attn.
    """
    match = re.fullmatch(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)", key)
    return f"{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[3]}" if match else key


def match_strictly(
    table: TensorFile, wanted: Shapes, *, ignored: str = "(?!)"
) -> dict[str, StoredTensor]:
    """Every wanted key with its shape, and no key besides.

    Those that ``ignored`` matches may be there.
    """
    for key in table:
        if key not in wanted and not re.search(ignored, key):
            found = list(table[key].shape)
            raise CheckpointError(
                f"{table.path}: unexpected key {key!r}, wanted none, found shape {found}"
            )
    return {key: _check_shape(table, key, shape) for key, shape in wanted.items()}


def _check_shape(table: TensorFile, key: str, shape: tuple[int, ...]) -> StoredTensor:
    if key not in table:
        raise CheckpointError(
            f"{table.path}: missing key {key!r}, wanted shape {list(shape)}, found none"
        )
    found = table[key].shape
    if found != shape:
        raise CheckpointError(
            f"{table.path}: key {key!r}: wanted shape {list(shape)}, found {list(found)}"
        )
    if table[key].dtype not in _FLOATS:
        raise CheckpointError(
            f"{table.path}: key {key!r} is {table[key].dtype}; wanted float16, bfloat16 or float32"
        )
    return table[key]


def _check_face(landmark: TensorFile, architecture: Architecture, *, variant: Variant) -> None:
    channels = FAMILY.find_drive(variant.face).channels
    found = architecture.landmark
    if found.in_channels != channels:
        raise CheckpointError(
            f"{landmark.path}: key 'conv_in.weight': wanted {channels} input channels for variant "
            f"{variant.name!r}, found {found.in_channels}"
        )
    if found.out_channels != architecture.unet.widths[0]:
        raise CheckpointError(
            f"{landmark.path}: key 'conv_out.weight': wanted {architecture.unet.widths[0]} "
            "output channels "
            f"(the denoiser's first width), found {found.out_channels}"
        )
    if found.downscale != architecture.vae.downscale:
        raise CheckpointError(
            f"{landmark.path}: {len(found.channels)} blocks make the feature {found.downscale} "
            "times smaller than the "
            f"picture, wanted {architecture.vae.downscale} times, as the VAE's latents"
        )


def _check_latents(config: Path, architecture: Architecture) -> None:
    unet = architecture.unet
    wanted = architecture.vae.latent_channels
    for name, found in (("in_channels", unet.in_channels), ("out_channels", unet.out_channels)):
        if found != wanted:
            raise CheckpointError(
                f"{config}: {name} is {found}; the VAE's latents have {wanted} channels"
            )
