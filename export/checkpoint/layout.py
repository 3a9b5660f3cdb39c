"""Where the files of a checkpoint lie: the official layout, and the names that others give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from echoexport.export.checkpoint.variants import VARIANTS, Variant
from echoexport.runtime.errors import CheckpointError

__all__ = [
    "UNET_FOLDER",
    "VAE_FOLDER",
    "WHISPER_STEM",
    "find_denoising",
    "find_file",
    "find_part",
    "find_whisper",
    "require_folder",
]

UNET_FOLDER = Path("sd-image-variations-diffusers", "unet")
VAE_FOLDER = Path("sd-vae-ft-mse")
WHISPER_STEM = Path("audio_processor", "whisper_tiny")
_OTHER_FOLDERS = {UNET_FOLDER: Path("unet"), VAE_FOLDER: Path("vae")}
_OTHER_WHISPERS = (Path("audio_processor", "tiny"), Path("whisper_tiny"), Path("tiny"))
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_VARIANT_SUFFIXES = tuple(f".fp16{suffix}" for suffix in _SUFFIXES)
_OTHER_MODELS = {
    "pose_encoder": "an EchoMimic V2 checkpoint",
    "transformer/config.json": "an EchoMimic V3 checkpoint, or one of another family",
}


def require_folder(folder: Path) -> None:
    """Raise ``CheckpointError`` where there is no such folder, or it holds another model."""
    if not _is_folder(folder):
        raise CheckpointError(
            f"{folder}: no such folder; an EchoMimic v1 checkpoint folder is wanted"
        )
    for stem, model in _OTHER_MODELS.items():
        path = find_file(folder, stem, required=False)
        found = path if _is_file(path) else folder / stem
        if _is_file(found) and not _is_file(_first(folder, ["face_locator"])):
            raise CheckpointError(f"{found}: this is {model}; an EchoMimic v1 checkpoint is wanted")


def find_part(folder: Path, part: Path) -> Path:
    """The folder of the base UNet or the VAE: the official one, else diffusers' own name."""
    official = folder / part
    other = folder / _OTHER_FOLDERS[part]
    return other if not _is_folder(official) and _is_folder(other) else official


def find_whisper(folder: Path) -> Path:
    """Whisper's file, which its authors publish as ``tiny.pt``.

    Raises:
        CheckpointError: there is none.
    """
    found = _first(folder, [WHISPER_STEM, *_OTHER_WHISPERS])
    return found if _is_file(found) else find_file(folder, WHISPER_STEM)


def find_denoising(folder: Path, variant: Variant) -> Path:
    """The variant's own file.

    Where it is missing, the message names the variants that are there.
    """
    path = find_file(folder, variant.denoising, required=False)
    if _is_file(path):
        return path
    others = [
        v.name
        for v in VARIANTS.values()
        if _is_file(find_file(folder, v.denoising, required=False))
    ]
    hint = (
        f"this folder has --variant {' or '.join(others)}"
        if others
        else "is this an EchoMimic v1 checkpoint?"
    )
    raise CheckpointError(
        f"{folder / variant.denoising}{{{','.join(_SUFFIXES)}}}: no such file; {hint}"
    )


def find_file(folder: Path, stem: str | Path, *, required: bool = True) -> Path:
    """The weight file of that stem.

    Safetensors first, as the original prefers, then torch's suffixes, then the same as
    diffusers names files in fp16.

    Raises:
        CheckpointError: there is none and it is ``required``, or the folder cannot be
            looked into.
    """
    path = _first(folder, [stem])
    if required and not _is_file(path):
        raise CheckpointError(
            f"{folder / stem}{{{','.join(_SUFFIXES)}}}: no such file; is the checkpoint complete?"
        )
    return path


def _first(folder: Path, stems: Sequence[str | Path]) -> Path:
    """The first of these that is there, else a name that is not."""
    for stem in stems:
        for suffix in (*_SUFFIXES, *_VARIANT_SUFFIXES):
            path = folder / f"{stem}{suffix}"
            if _is_file(path):
                return path
    return folder / f"{stems[0]}{_SUFFIXES[-1]}"


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a folder that may not be looked into is named."""
    try:
        return path.is_file()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
