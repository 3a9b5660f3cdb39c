"""What a calibration set is rendered from: portraits and voices of two folders, each with each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import AudioError, CalibrationError, PortraitError
from echoexport.runtime.files.json_file import read_json
from echoexport.runtime.inputs.face_choice import choose_face
from echoexport.runtime.inputs.picture_file import is_picture, store_picture
from echoexport.runtime.inputs.portrait import FaceCrop
from echoexport.runtime.inputs.resize import Size
from echoexport.runtime.inputs.sound.decoding import decode_sound
from echoexport.runtime.inputs.sound.stored import store_sound
from echoexport.runtime.inputs.voice import SAMPLE_RATE, Voice, question_voice, read_voice
from echoexport.runtime.progress import Tell

BOXES = "boxes.json"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
SOUNDS = (".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac", ".mp4", ".mov", ".mkv", ".webm")

_HOP = SAMPLE_RATE // 20
_HOPS_AT_ONCE = 1200  # a minute


@dataclass(frozen=True, eq=False)
class RecordingInput:
    """One rendering: a portrait that says something."""

    portrait: str
    """Its name, one name for one picture."""
    voice: str
    """Its name, one name for one sound."""
    crop: Callable[[Size], FaceCrop]
    """From the bundle's (width, height) to what the networks see of the portrait."""
    sound: Voice
    poses: Path | None = None
    """For bundles of the pose variants, what ``read_poses`` reads."""


@dataclass(frozen=True)
class InputSettings:
    """How portraits and voices are read."""

    seconds: float
    """The most of each voice."""
    face_model: Path | None = None
    """It finds faces that ``boxes.json`` does not name."""
    poses: Path | None = None
    """Of all renderings."""
    warn: Tell = lambda message: None


def read_recording_inputs(
    portraits: Path, voices: Path, settings: InputSettings
) -> list[RecordingInput]:
    """Every portrait of a folder with every voice of another, in the order of their names.

    A file ``boxes.json`` beside the portraits may give face boxes, {file name: [x0, y0,
    x1, y1]} in their pixels. A portrait with neither box nor found face is used as it
    is.

    Raises:
        PortraitError, AudioError: a folder without any, or a file that cannot be used.
        CalibrationError: boxes that cannot be read, or of a file that is not there.
    """
    pictures = list_media(portraits, PICTURES, judge=is_picture, warn=settings.warn)
    sounds = list_media(voices, SOUNDS, judge=is_sound, warn=settings.warn)
    if not pictures:
        raise PortraitError(
            f"{portraits}: no portrait there; wanted a folder with files {', '.join(PICTURES)}"
        )
    if not sounds:
        raise AudioError(
            f"{voices}: no voice there; wanted a folder with files {', '.join(SOUNDS)}"
        )
    boxes = read_boxes(portraits, known=[path.name for path in pictures])
    crops = {path.name: _make_crop(path, boxes.get(path.name), settings) for path in pictures}
    cut = {path.name: _read_stretch(path, settings) for path in sounds}
    return [
        RecordingInput(portrait, voice, crop, sound, settings.poses)
        for portrait, crop in crops.items()
        for voice, sound in cut.items()
    ]


def list_media(
    place: Path, suffixes: tuple[str, ...], *, judge: Callable[[Path], bool], warn: Tell
) -> list[Path]:
    """A folder's files of a kind by name, hidden ones left out; of a file, itself.

    A file is of the kind where its suffix says so, or where ``judge`` says that
    ``echoexport run`` would take it. ``warn`` is told which others lie in the folder.
    """
    if not place.is_dir():
        return [place] if place.exists() else []
    shown = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    found = [path for path in shown if path.is_file() and _is_of_kind(path, suffixes, judge=judge)]
    left = [path.name for path in shown if path not in found and path.name != BOXES]
    if left:
        warn(f"{place}: left out, as run would not take them: {', '.join(left)}")
    return found


def _is_of_kind(path: Path, suffixes: tuple[str, ...], *, judge: Callable[[Path], bool]) -> bool:
    return path.name != BOXES and (path.suffix.lower() in suffixes or judge(path))


def is_sound(path: Path) -> bool:
    """Whether a file begins as one with sound does; it may still be cut short."""
    try:
        with store_sound(path) as sound, closing(decode_sound(sound)) as frames:
            return next(iter(frames), None) is not None
    except AudioError:
        return False


def read_boxes(
    portraits: Path, *, known: list[str]
) -> dict[str, tuple[float, float, float, float]]:
    """Face boxes by file name; none where there is no ``boxes.json``.

    Raises CalibrationError, naming it.
    """
    path = portraits / BOXES
    if not path.is_file():
        return {}
    try:
        data = read_json(path)
        boxes = {name: tuple(float(edge) for edge in box) for name, box in data.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CalibrationError(
            f"{path}: wanted {{file name: [x0, y0, x1, y1]}}: {error}"
        ) from error
    for name, box in boxes.items():
        if len(box) != 4 or not np.isfinite(box).all():
            raise CalibrationError(
                f"{path}: {name}: wanted four numbers x0, y0, x1, y1, found {list(box)}"
            )
        if name not in known:
            raise CalibrationError(
                f"{path}: names {name!r}, which is not there; known: {', '.join(known)[:200]}"
            )
    return {name: (box[0], box[1], box[2], box[3]) for name, box in boxes.items()}


def cut_voice(voice: Voice, *, seconds: float) -> Voice:
    """The loudest stretch of so many seconds.

    In it somebody speaks; pauses between words are part of it.
    """
    count = round(seconds * SAMPLE_RATE)
    if len(voice) <= count:
        return voice
    start = int(np.argmax(_measure_stretches(voice, count))) * _HOP
    samples = voice.cut(start, start + count).copy()
    samples.setflags(write=False)
    return Voice(samples, Fraction(count, SAMPLE_RATE), voice.path)


def _measure_stretches(voice: Voice, count: int) -> NDArray[np.float64]:
    """The energy of each stretch of ``count`` samples, one from every hop on.

    A long voice is read in parts, of which two sums a hop are kept.
    """
    whole, rest = divmod(count, _HOP)
    sums = [np.zeros(1)]
    heads = list[NDArray[np.float64]]()
    for start in range(0, len(voice), _HOP * _HOPS_AT_ONCE):
        squares = np.square(voice.cut(start, start + _HOP * _HOPS_AT_ONCE), dtype=np.float64)
        hops = np.pad(squares, (0, -len(squares) % _HOP)).reshape(-1, _HOP)
        sums.append(hops.sum(axis=1))
        heads.append(hops[:, :rest].sum(axis=1))
    before = np.cumsum(np.concatenate(sums))
    head = np.concatenate([*heads, np.zeros(1)])
    starts = np.arange((len(voice) - count) // _HOP + 1)
    energy: NDArray[np.float64] = before[starts + whole] + head[starts + whole] - before[starts]
    return energy


def _read_stretch(path: Path, settings: InputSettings) -> Voice:
    voice = cut_voice(read_voice(path), seconds=settings.seconds)
    for warning in question_voice(voice):
        settings.warn(warning)
    return voice


def hash_crop(crop: FaceCrop) -> str:
    """sha256 of what the networks see of a portrait."""
    return hashlib.sha256(crop.picture.tobytes() + crop.mask.tobytes()).hexdigest()


def hash_voice(voice: Voice) -> str:
    """sha256 of a voice's samples as 16-bit integers."""
    return hashlib.sha256(np.rint(voice.samples * 32768).astype("<i4").tobytes()).hexdigest()


def _make_crop(
    path: Path, box: tuple[float, float, float, float] | None, settings: InputSettings
) -> Callable[[Size], FaceCrop]:
    told: set[str] = set()
    picture = store_picture(path)

    def crop(size: Size) -> FaceCrop:
        found, warnings = choose_face(picture, size, box=box, model=settings.face_model)
        if settings.face_model is not None:  # without one, the whole picture is what was asked for
            for warning in [text for text in warnings if text not in told]:
                told.add(warning)
                settings.warn(warning)
        return found

    return crop
