"""Clips that the built-in character is compared on.

Its portrait and voice, and drawn people nobody calibrated with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.assets import (
    builtin_checkpoint,
    builtin_face_box,
    builtin_portrait,
    builtin_voice,
)
from echoexport.export.demo.gates.clips import GateCase, find_silence
from echoexport.export.demo.gates.mouth import draw_person_frames, make_mouth_guide
from echoexport.export.demo.held_out import make_silent_clip
from echoexport.export.demo.media import PERSON
from echoexport.export.demo.world.geometry import face_box
from echoexport.export.demo.world.person import Person, draw_person, stack_people
from echoexport.export.demo.world.state import FaceState
from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.lipsync import correlate, is_constant
from echoexport.profiles.quality.mouth import (
    CLOSED,
    FOLLOWS,
    SOUND,
    MouthGuide,
    mouth_closed,
    mouth_openness,
)
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.portrait import crop_face, read_portrait
from echoexport.runtime.inputs.voice import SAMPLE_RATE, Voice, read_voice, voice_from_samples
from echoexport.runtime.rendering.settings import RenderInputs

__all__ = [
    "FIRST_QUALITY_PERSON",
    "ClipSettings",
    "is_character",
    "list_quality_clips",
    "measure_loudness",
]

FIRST_QUALITY_PERSON = 700_000
"""The first drawn person's seed: in no training data, and beyond those that the
character is calibrated with."""

_SPEEDS = (Fraction(21, 20), Fraction(23, 25))  # none that calibration plays the voice at
_QUIET = 0.003  # of full scale, root mean square: below, nobody speaks
_HISS = 4.0  # levels of 16 bits
_MOST_PEOPLE = 1_000_000 - FIRST_QUALITY_PERSON  # from there on people belong to the gates
_SIDE = 512


@dataclass(frozen=True)
class ClipSettings:
    """Who is in the clips, and how long they last."""

    people: int = 3
    """Drawn ones, beside the built-in portrait; the last one hears silence."""
    seconds: float = 2.0
    """Of each clip at most."""

    def __post_init__(self) -> None:
        if not 0 <= self.people < _MOST_PEOPLE or not self.seconds >= 0.5:
            raise SettingError(
                f"{self.people} people, {self.seconds} s: 0 to {_MOST_PEOPLE - 1} people and "
                "half a second or more"
            )


def is_character(manifest: Manifest) -> bool:
    """Whether a bundle was built from the checkpoint that ships with the package."""
    folder = builtin_checkpoint()
    files = manifest.provenance.checkpoint_files
    return bool(files) and all(
        (folder / name).is_file() and hash_file(folder / name) == file.sha256
        for name, file in files.items()
    )


def list_quality_clips(
    manifest: Manifest, settings: ClipSettings | None = None, *, fps: float
) -> list[ComparisonClip]:
    """The built-in portrait with the built-in voice, then drawn people with pieces of it.

    The last person hears silence. Mouths are scored where the bundle is the
    character's, which is what the measure was made for.

    Raises:
        SettingError: a bundle whose face is a pose: the built-in portrait has none.
        InputError: the installation lacks the portrait or the voice.
    """
    settings = settings or ClipSettings()
    size = (manifest.picture.width, manifest.picture.height)
    if manifest.drive.every_frame:
        raise SettingError(
            f"variant {manifest.variant!r} needs poses, and the built-in clips have none: give "
            "--portrait, --voice and "
            "--poses"
        )
    scored = size[0] == size[1] and is_character(manifest)
    voice = read_voice(builtin_voice())
    clips = [_make_clip("built-in", draw_person(PERSON), _cut(voice.samples, settings), size=size)]
    for index in range(settings.people):
        sound = _make_sound(voice.samples, index, settings)
        clips.append(
            _make_clip(
                f"drawn-{index + 1}", draw_person(FIRST_QUALITY_PERSON + index), sound, size=size
            )
        )
    people = [
        draw_person(PERSON),
        *(draw_person(FIRST_QUALITY_PERSON + index) for index in range(settings.people)),
    ]
    if not scored:
        return clips
    return [
        _add_score(clip, person, side=size[0], fps=fps)
        for clip, person in zip(clips, people, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class MouthScore:
    """Scores a clip's frames (n, side, side, 3) by the mouth."""

    person: Person
    side: int
    loudness: NDArray[np.float64]
    """Of the sound in each frame, (m,), m >= n."""
    fps: float

    @cached_property
    def guide(self) -> MouthGuide:
        """What the person's mouth looks like.

        It is drawn when it is first needed, which takes a second or two.
        """
        return make_mouth_guide(self.person, size=self.side)

    def __call__(
        self, frames: NDArray[np.uint8], reference: NDArray[np.uint8]
    ) -> Mapping[str, float]:
        """How far the mouth moves as the reference's does, and with the sound.

        Where there is no sound, it is how often the mouth is closed. A voice that is
        silent throughout has only the last of these, one without a pause of 0.2 s all
        but the last.
        """
        openness = mouth_openness(frames, self.guide)
        own = mouth_openness(reference, self.guide)
        loudness = self.loudness[: len(frames)]
        silent = find_silence(np.where(loudness < _QUIET, 0.0, 1.0), fps=self.fps)
        scores = {}
        if not silent.all() and len(frames) > 1:
            scores[FOLLOWS] = correlate(own, openness)
            if not is_constant(loudness):
                scores[SOUND] = correlate(loudness, openness)
        if silent.any():
            scores[CLOSED] = float(mouth_closed(openness)[silent].mean())
        return scores


def measure_loudness(samples: NDArray[np.float32], *, fps: float) -> NDArray[np.float64]:
    """The root mean square of the sound (n,) at 16 kHz while each frame is shown.

    There is one value for every frame that begins in the sound.
    """
    count = max(int(np.ceil(len(samples) / SAMPLE_RATE * fps - 1e-9)), 1)
    edges = np.rint(np.arange(count + 1) / fps * SAMPLE_RATE).astype(int)
    parts = [samples[start:end].astype(np.float64) for start, end in pairwise(edges)]
    return np.array([np.sqrt((part**2).mean()) if len(part) else 0.0 for part in parts])


def _add_score(clip: ComparisonClip, person: Person, *, side: int, fps: float) -> ComparisonClip:
    loudness = measure_loudness(clip.inputs.voice.samples, fps=fps)
    return ComparisonClip(clip.name, clip.inputs, score=MouthScore(person, side, loudness, fps))


def _make_clip(name: str, person: Person, sound: Voice, *, size: tuple[int, int]) -> ComparisonClip:
    if person.seed == PERSON:
        crop = crop_face(read_portrait(builtin_portrait()), builtin_face_box(), size=size)
        return ComparisonClip(name, RenderInputs(crop.picture, sound, mask=crop.mask))
    if size[0] == size[1]:  # the whole picture, as in training, and where the mouth is looked for
        case = GateCase(person, make_silent_clip(1, name=name), frames=1, fps=1, size=size[0])
        return ComparisonClip(name, RenderInputs(case.portrait, sound, mask=case.face))
    picture = draw_person_frames(person, FaceState.rest(1), size=_SIDE)[0]
    crop = crop_face(picture, face_box(stack_people([person]), size=_SIDE)[0].tolist(), size=size)
    return ComparisonClip(name, RenderInputs(crop.picture, sound, mask=crop.mask))


def _make_sound(whole: NDArray[np.float32], index: int, settings: ClipSettings) -> Voice:
    """Silence for the last person, else a piece of the voice.

    Each piece begins where the one before ends.
    """
    count = int(settings.seconds * SAMPLE_RATE)
    if index == settings.people - 1:
        hiss = np.random.default_rng(FIRST_QUALITY_PERSON).standard_normal(count) * _HISS
        return voice_from_samples(np.rint(hiss).astype(np.int16))
    start = (index + 1) * count % max(len(whole) - count // 2, 1)
    speed = _SPEEDS[index % len(_SPEEDS)]
    played = voice_from_samples(whole[start:], sample_rate=int(SAMPLE_RATE * speed))
    return _cut(played.samples, settings)


def _cut(samples: NDArray[np.float32], settings: ClipSettings) -> Voice:
    return voice_from_samples(samples[: int(settings.seconds * SAMPLE_RATE)])
