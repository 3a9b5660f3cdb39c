"""The character that ships with the package.

Its checkpoint, a portrait and a voice to try it with.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from echoexport.runtime.errors import CheckpointError, InputError, SettingError

if TYPE_CHECKING:
    from echoexport.export.build.settings import BuildSettings

__all__ = [
    "CHARACTER_LIVE_STEPS",
    "CHARACTER_SIZE",
    "CHARACTER_STEPS",
    "CHARACTER_VARIANT",
    "DEFAULT_CHECKPOINT",
    "builtin_checkpoint",
    "builtin_face_box",
    "builtin_portrait",
    "builtin_voice",
    "find_checkpoint",
    "is_builtin",
    "suit_character",
]

CHARACTER_VARIANT = "acc"

CHARACTER_STEPS = 1
"""Measured, see ``docs/measurements.md``: lip-sync, SSIM, PSNR and flicker are those of
six, or better."""

CHARACTER_LIVE_STEPS = 6
"""Sessions begin with these where the device keeps up."""
CHARACTER_SIZE = (128, 128)
"""Width and height in pixels that the character was trained at, and at no others."""

DEFAULT_CHECKPOINT = Path("pretrained_weights")
"""Where the official weights are looked for, in the working directory."""

_DATA = Path(__file__).parent / "data"
# Of world.geometry.face_box, kept so that nothing has to be drawn where the demo runs;
# a test compares the two. The crop about this box is the whole picture, which is what
# the character saw in training.
_FACE_BOX = (126.8, 119.0, 384.2, 405.5)


def builtin_checkpoint() -> Path:
    """The folder of the character's weights, an acc checkpoint in the official layout, fp16.

    Raises:
        CheckpointError: this installation lacks it.
    """
    folder = _DATA / "checkpoint"
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: the built-in character is missing from this installation; install it again"
        )
    return folder


def find_checkpoint(given: Path | None) -> Path:
    """The folder that was named, or the usual one, or the built-in character's.

    The usual one is ``pretrained_weights`` in the working directory.

    Raises:
        CheckpointError: the character's is wanted, and this installation lacks it.
    """
    if given is not None:
        return given
    return DEFAULT_CHECKPOINT if DEFAULT_CHECKPOINT.is_dir() else builtin_checkpoint()


def suit_character(settings: BuildSettings) -> BuildSettings:
    """Settings for the built-in character, where nothing else was asked for.

    These are the size that it was trained at, and the fewest steps with which it meets
    every quality gate.

    Raises:
        SettingError: another variant than its own.
        UnknownNameError: no such variant.
    """
    from echoexport.export.checkpoint.variants import find_variant

    if find_variant(settings.variant).name != CHARACTER_VARIANT:
        raise SettingError(
            f"variant {settings.variant!r}: the built-in demo character comes as "
            f"{CHARACTER_VARIANT} only; leave --variant out, or name the folder of a checkpoint "
            "that has it"
        )
    settings = replace(settings, size=settings.size or CHARACTER_SIZE)
    if settings.steps is not None:
        return settings
    return replace(settings, steps=CHARACTER_STEPS, live_steps=CHARACTER_LIVE_STEPS)


def is_builtin(folder: Path) -> bool:
    """Whether a checkpoint folder is the character's own."""
    return folder.resolve() == (_DATA / "checkpoint").resolve()


def builtin_portrait() -> Path:
    """A drawn person who was in no training data, at rest: PNG, 512x512 px.

    Raises InputError where it is missing.
    """
    return _find("portrait.png")


def builtin_voice() -> Path:
    """Six seconds of a synthetic voice that was in no training data: WAV, 16 kHz, mono.

    Raises InputError as above.
    """
    return _find("voice.wav")


def builtin_face_box() -> tuple[float, float, float, float]:
    """Where the face is in the portrait: x0, y0, x1, y1 in its pixels."""
    return _FACE_BOX


def _find(name: str) -> Path:
    path = _DATA / name
    if not path.is_file():
        raise InputError(f"{path}: missing from this installation; install it again")
    return path
