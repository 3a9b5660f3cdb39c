"""What a recording will do, settled before it begins.

It settles which renderings run, and which of their calls are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from echoexport.calibration.recording.draw import (
    Draw,
    DrawSettings,
    RenderingShape,
    draw_samples,
)
from echoexport.calibration.recording.recording_inputs import (
    RecordingInput,
    cut_voice,
    hash_crop,
    hash_voice,
)
from echoexport.calibration.recording.set_manifest import (
    SET_FORMAT,
    SET_SCHEMA,
    SetManifest,
    SetSampling,
    describe_source,
)
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.drives import require_poses
from echoexport.runtime.errors import CalibrationError, SettingError
from echoexport.runtime.inputs.pose import read_poses
from echoexport.runtime.inputs.rates import covering_frame_count, exact_rate
from echoexport.runtime.inputs.voice import MIN_SECONDS, SAMPLE_RATE, Voice
from echoexport.runtime.rendering.settings import RenderSettings, settle_sampling
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.runtime.sampling.noise import LARGEST_SEED
from echoexport.runtime.sampling.sampler import SamplingSettings
from echoexport.runtime.sampling.windows import context_windows

_COLUMN = SAMPLE_RATE // 100  # samples of one column of the log-mel


@dataclass(frozen=True)
class RecordingSettings:
    """What a recording may take."""

    samples: int = 32
    """The most of each network."""
    megabytes: float = 512.0
    """The most of all arrays."""
    seconds: float = 2.0
    """The most of each voice, its loudest stretch."""
    seed: int = 0
    """Of the draw and of the noise."""
    steps: int | None = None
    """None takes the bundle's."""
    backend: str | None = None
    """None takes the bundle's first that works here."""
    threads: int = 0
    """0 leaves it to the engine."""


def check_settings(settings: RecordingSettings) -> None:
    """Raises SettingError for a limit or seed that cannot be."""
    if settings.samples < 1:
        raise SettingError(f"{settings.samples} samples: one or more of each network are wanted")
    if not settings.megabytes > 0:
        raise SettingError(f"{settings.megabytes:g} MB: a limit above 0 is wanted")
    if not MIN_SECONDS <= settings.seconds <= 3600:
        raise SettingError(
            f"{settings.seconds:g} seconds of each voice: {MIN_SECONDS:g} to 3600 are wanted"
        )
    if not 0 <= settings.seed <= LARGEST_SEED:
        raise SettingError(f"seed {settings.seed}: a whole number from 0 to 2**64-1 is wanted")


@dataclass(frozen=True, eq=False)
class RecordingJob:
    """A recording that is ready to run."""

    inputs: Sequence[RecordingInput]
    """In the order they run in."""
    voices: Mapping[str, Voice]
    shapes: Sequence[RenderingShape]
    drawn: Draw
    sampling: SamplingSettings
    timesteps: tuple[int, ...]
    described: SetManifest
    """What the set will say of itself."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Places of the renderings that must run."""
        return self.drawn.numbers()

    @property
    def fingerprint(self) -> str:
        """A hash of all that the bytes of the set depend on, the engine included."""
        calls = [[c.network, c.number, c.index] for c in self.drawn.calls]
        names = [
            [self.inputs[number].portrait, self.inputs[number].voice] for number in self.numbers
        ]
        content = [self.described.digest, self.described.made, calls, names]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def calls_of(self, number: int) -> int:
        """Calls of the denoiser in a rendering."""
        return (
            self.shapes[number].windows * self.sampling.steps * (2 if self.sampling.guided else 1)
        )


def prepare_job(
    bundle: Bundle, inputs: Sequence[RecordingInput], settings: RecordingSettings
) -> RecordingJob:
    """Look at every input that matters, and draw."""
    manifest = bundle.manifest
    _check_inputs(inputs, bundle)
    # in this order a portrait's reference is computed once
    inputs = sorted(inputs, key=lambda item: (item.portrait, item.voice))
    voices = {item.voice: cut_voice(item.sound, seconds=settings.seconds) for item in inputs}
    posed = manifest.drive.every_frame
    frames = _count_poses(bundle, inputs)
    # what the networks see in live sessions is recorded too
    steps = bundle.manifest.sampler.most_steps if settings.steps is None else settings.steps
    sampling = settle_sampling(bundle, RenderSettings(steps=steps))
    shapes = [
        _shape(bundle, item, voices[item.voice], sampling, most=frames.get(item.poses))
        for item in inputs
    ]
    draw = DrawSettings(
        settings.samples, settings.megabytes, sampling.steps, sampling.guided, posed, settings.seed
    )
    drawn = draw_samples(shapes, manifest.networks, draw)
    used = {number: inputs[number] for number in drawn.numbers()}
    size = (manifest.picture.width, manifest.picture.height)
    described = replace(
        _describe_recording(bundle, settings, sampling),
        portraits={item.portrait: hash_crop(item.crop(size)) for item in _first_of_each(used)},
        voices={item.voice: hash_voice(voices[item.voice]) for item in used.values()},
        poses=_hash_poses(used, shapes, size=size) if posed else {},
    )
    timesteps = DDIMScheduler(manifest.sampler.scheduler).timesteps(sampling.steps)
    return RecordingJob(
        inputs, voices, shapes, drawn, sampling, tuple(int(t) for t in timesteps), described
    )


def _count_poses(bundle: Bundle, inputs: Sequence[RecordingInput]) -> dict[Path | None, int]:
    """Frames that each folder of poses has."""
    picture = bundle.manifest.picture
    size = (picture.width, picture.height)
    paths = {item.poses for item in inputs if item.poses is not None}
    return {path: len(read_poses(path, size=size)) for path in paths}


def _describe_recording(
    bundle: Bundle, settings: RecordingSettings, sampling: SamplingSettings
) -> SetManifest:
    """What the set will say of itself, before any input or sample."""
    return SetManifest(
        format=SET_FORMAT,
        schema=SET_SCHEMA,
        made=_name_engine(bundle, settings),
        source=describe_source(bundle.manifest),
        sampling=SetSampling(
            seed=settings.seed,
            steps=sampling.steps,
            guidance=sampling.guidance,
            overlap=sampling.overlap,
            fps=float(bundle.manifest.fps),
            seconds=settings.seconds,
        ),
        portraits={},
        voices={},
        poses={},
        counts={},
        megabytes=0.0,
        arrays={},
        samples=(),
    )


def _check_inputs(inputs: Sequence[RecordingInput], bundle: Bundle) -> None:
    if not inputs:
        raise CalibrationError("no portrait and voice to record with; give one of each at least")
    for item in inputs:
        require_poses(bundle.manifest, item.poses)
    names = Counter((item.portrait, item.voice) for item in inputs)
    (portrait, voice), count = names.most_common(1)[0]
    if count > 1:
        raise CalibrationError(
            f"portrait {portrait!r} with voice {voice!r} is given {count} times; names must differ"
        )


def _name_engine(bundle: Bundle, settings: RecordingSettings) -> str:
    threads = f", {settings.threads} threads" if settings.threads else ""
    return bundle.backend.describe() + threads


def _first_of_each(used: Mapping[int, RecordingInput]) -> list[RecordingInput]:
    """One input for each portrait."""
    found: dict[str, RecordingInput] = {}
    for item in used.values():
        found.setdefault(item.portrait, item)
    return list(found.values())


def _hash_poses(
    used: Mapping[int, RecordingInput], shapes: Sequence[RenderingShape], *, size: tuple[int, int]
) -> dict[str, str]:
    """Hashes of the maps that the longest rendering uses, by the poses' name."""
    frames: dict[Path, int] = {}
    for number, item in used.items():
        if item.poses is not None:
            frames[item.poses] = max(frames.get(item.poses, 0), shapes[number].frames)
    hashes = {}
    for path, count in frames.items():
        digest = hashlib.sha256()
        maps = read_poses(path, size=size)
        for frame in range(count):
            digest.update(maps.draw_frame(frame).tobytes())
        hashes[path.name] = digest.hexdigest()
    return hashes


def _shape(
    bundle: Bundle,
    item: RecordingInput,
    voice: Voice,
    sampling: SamplingSettings,
    *,
    most: int | None,
) -> RenderingShape:
    manifest = bundle.manifest
    frames = covering_frame_count(voice.duration, exact_rate(manifest.fps))
    frames = frames if most is None else min(frames, most)
    window = manifest.window.frames
    windows = context_windows(max(frames, window), context=window, overlap=sampling.overlap)
    columns = len(voice.samples) // _COLUMN
    segments = sum(
        1 for start in range(0, columns, 2 * manifest.audio.context) if columns - start > 1
    )
    return RenderingShape(item.portrait, item.voice, frames, len(windows), segments)
