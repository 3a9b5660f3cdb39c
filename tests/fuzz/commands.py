"""Whole command lines for an input of each kind, and what they end in."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import numpy as np
from fixtures.null_bundles import write_null_bundle

_FACE = ("--face-box", "10,10,60,70")
_CLIP = ("--frames", "2", "--no-cache", "-o")


class Workplace:
    """A folder with what a command needs besides the input itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = write_null_bundle(folder / "bundle", face="mask", frames=4, side=32)
        self.posed = write_null_bundle(folder / "posed", face="pose", frames=4, side=32)
        self.portrait = folder / "portrait.png"
        self.voice = folder / "voice.wav"
        _write_portrait(self.portrait)
        _write_voice(self.voice)

    def run(
        self,
        bundle: Path,
        *options: object,
        portrait: Path,
        voice: Path,
        face: tuple[object, ...] = _FACE,
    ) -> list[str]:
        """The words of a ``run`` whose output is removed by whoever made ``folder``."""
        given = ("run", bundle, "-p", portrait, "-v", voice, *face, *options, *_CLIP)
        return [*map(str, given), str(self.folder / "out.mp4")]


def name_picture(at: Workplace, content: Path) -> list[str]:
    """A portrait."""
    return at.run(at.bundle, portrait=content, voice=at.voice)


def name_sound(at: Workplace, content: Path) -> list[str]:
    """A voice."""
    return at.run(at.bundle, portrait=at.portrait, voice=content)


def name_face_model(at: Workplace, content: Path) -> list[str]:
    """A face model."""
    suffix = ".task" if content.read_bytes().startswith(b"PK") else ".tflite"
    place = content.rename(content.with_suffix(suffix))
    face = ("--face-model", place)
    return at.run(at.bundle, portrait=at.portrait, voice=at.voice, face=face)


def name_poses(at: Workplace, content: Path) -> list[str]:
    """Poses of a clip."""
    place = content.rename(content.with_suffix(".npy"))
    return at.run(at.posed, "--poses", place, portrait=at.portrait, voice=at.voice)


def name_pose_folder(at: Workplace, content: Path) -> list[str]:
    """Poses of one frame."""
    suffix = ".npy" if content.read_bytes().startswith(b"\x93") else ".pkl"
    place = content.with_name("folder")
    place.mkdir()
    content.rename(place / f"0{suffix}")
    options = ("--poses", place, "--fps", "1", "--frames", "1")
    return at.run(at.posed, *options, portrait=at.portrait, voice=at.voice)


def name_weights(at: Workplace, content: Path) -> list[str]:
    """One of a checkpoint's files."""
    from echoexport.export.demo.assets import builtin_checkpoint

    place = content.with_name("checkpoint")
    shutil.copytree(builtin_checkpoint(), place, copy_function=lambda a, b: Path(b).symlink_to(a))
    (place / "face_locator.pth").unlink()
    content.rename(place / "face_locator.pth")
    options = ("--target", "cpu", "--check", "none", "-o", str(at.folder / "built"))
    return ["build", str(place), *options]


def run_command(words: list[str]) -> int:
    """The command within this process: its exit code."""
    from echoexport.export.cli import main

    try:
        main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _write_portrait(path: Path) -> None:
    from PIL import Image

    rows, columns = np.mgrid[:80, :72]
    picture = np.stack([3 * rows, 3 * columns, 2 * (rows + columns)], axis=-1)
    Image.fromarray(picture.astype(np.uint8)).save(path)


def _write_voice(path: Path) -> None:
    noise = np.random.default_rng(0).integers(-3000, 3000, 8000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(noise.tobytes())
