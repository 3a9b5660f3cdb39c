"""What a bundle is tuned on: the user's portraits and voices, each with each, or built-in ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from echoexport.export.cli.options import warn
from echoexport.runtime.errors import SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from echoexport.profiles.quality.clips import ComparisonClip, ScoreFrames
    from echoexport.runtime.contract.manifest import Manifest
    from echoexport.runtime.inputs.portrait import FaceCrop
    from echoexport.runtime.inputs.voice import Voice

__all__ = ["TuningFiles", "find_tuning_clips"]


@dataclass(frozen=True)
class TuningFiles:
    """Files and face boxes as given."""

    portraits: tuple[Path, ...] = ()
    """Pictures of one face each."""
    voices: tuple[Path, ...] = ()
    """What is said."""
    face_boxes: tuple[str, ...] = ()
    """One for each portrait, or none."""
    face_model: Path | None = None
    """The detector that finds faces where no boxes are given."""
    poses: Path | None = None
    """For bundles that poses drive."""


def find_tuning_clips(
    files: TuningFiles, folder: Path, manifest: Manifest, *, seconds: float, fps: float
) -> list[ComparisonClip]:
    """Every portrait with every voice, of each its loudest stretch; built-in ones for none.

    Raises:
        SettingError: portraits without voices or the reverse, none for somebody else's
            checkpoint, or boxes that are not as many as portraits.
        InputError: a file that cannot be used.
    """
    if not files.portraits and not files.voices:
        return _find_builtin(files, folder, manifest, seconds=seconds, fps=fps)
    if not files.portraits or not files.voices:
        lacking = "--voice" if files.portraits else "--portrait"
        raise SettingError(f"--portrait and --voice go together: give {lacking} FILE too")
    if files.face_boxes and len(files.face_boxes) != len(files.portraits):
        raise SettingError(
            f"{len(files.face_boxes)} --face-box for {len(files.portraits)} --portrait: give one "
            "for each, in the same order, or none"
        )
    voices = {path: _read_stretch(path, seconds) for path in files.voices}
    clips = []
    for index, portrait in enumerate(files.portraits):
        box = files.face_boxes[index] if files.face_boxes else None
        crop = _read_crop(portrait, box, files, manifest)
        for path, voice in voices.items():
            frames = max(round(min(seconds, float(voice.duration)) * fps), 1)
            name = _name_clip(portrait, path, files)
            clips.append(_make_clip(name, crop, voice, files, manifest, frames=frames, fps=fps))
    return clips


def _find_builtin(
    files: TuningFiles, folder: Path, manifest: Manifest, *, seconds: float, fps: float
) -> list[ComparisonClip]:
    from echoexport.export.demo.quality_clips import (
        ClipSettings,
        is_character,
        list_quality_clips,
    )

    if files.face_boxes or files.face_model is not None or files.poses is not None:
        raise SettingError(
            "--face-box, --face-model and --poses belong to a --portrait with a --voice: give both"
        )
    if not is_character(manifest):
        raise SettingError(
            f"{folder}: --portrait FILE and --voice FILE are wanted; only the built-in demo "
            "character brings its own"
        )
    return list_quality_clips(manifest, ClipSettings(seconds=seconds), fps=fps)


def _read_crop(portrait: Path, box: str | None, files: TuningFiles, manifest: Manifest) -> FaceCrop:
    from echoexport.runtime.inputs.face_choice import choose_face
    from echoexport.runtime.inputs.portrait import parse_face_box

    crop, warnings = choose_face(
        portrait,
        (manifest.picture.width, manifest.picture.height),
        box=None if box is None else parse_face_box(box),
        model=files.face_model,
    )
    for line in warnings:
        warn(f"{portrait}: {line}; its lip-sync is not measured")
    return crop


def _read_stretch(path: Path, seconds: float) -> Voice:
    from echoexport.calibration.recording.recording_inputs import cut_voice
    from echoexport.runtime.inputs.voice import question_voice, read_voice

    voice = cut_voice(read_voice(path), seconds=seconds)
    for line in question_voice(voice):
        warn(line)
    return voice


def _make_clip(
    name: str,
    crop: FaceCrop,
    voice: Voice,
    files: TuningFiles,
    manifest: Manifest,
    *,
    frames: int,
    fps: float,
) -> ComparisonClip:
    from echoexport.profiles.quality.clips import ComparisonClip
    from echoexport.runtime.inputs.pose import read_poses
    from echoexport.runtime.rendering.settings import RenderInputs

    size = (manifest.picture.width, manifest.picture.height)
    poses = None if files.poses is None else read_poses(files.poses, size=size)
    inputs = RenderInputs(crop.picture, voice, mask=crop.mask, poses=poses)
    return ComparisonClip(name, inputs, frames=frames, score=_score_mouth(crop.mask, voice, fps))


def _score_mouth(mask: NDArray[np.uint8], voice: Voice, fps: float) -> ScoreFrames | None:
    from echoexport.export.demo.quality_clips import measure_loudness
    from echoexport.profiles.tuning.mouth_region import RegionScore, find_mouth_region

    region = find_mouth_region(mask)
    return None if region is None else RegionScore(region, measure_loudness(voice.samples, fps=fps))


def _name_clip(portrait: Path, voice: Path, files: TuningFiles) -> str:
    """By file name; by the whole path where two files have one name."""
    names = []
    for path, all_of_them in ((portrait, files.portraits), (voice, files.voices)):
        alike = [other for other in all_of_them if other.stem == path.stem]
        names.append(path.stem if len(alike) == 1 else str(path))
    return " says ".join(names)
