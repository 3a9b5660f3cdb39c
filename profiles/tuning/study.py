"""Every choice measured on every clip, side after side, and the quickest good one chosen.

A side's choices take turns on each clip, so that what else the machine does meanwhile
falls on all of them; sides run one after the other, so that memory holds one side's engines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.quality.clips import ComparisonClip, Frames, check_clips
from echoexport.profiles.quality.comparable import require_comparable
from echoexport.profiles.quality.networks import is_large
from echoexport.profiles.quality.report import BundleSide
from echoexport.profiles.quality.sides import describe_side
from echoexport.profiles.tuning.choices import TuningChoice, TuningGrid, TuningSide
from echoexport.profiles.tuning.limits import (
    TuningLimits,
    choose_quickest,
    find_front,
    summarize_choice,
)
from echoexport.profiles.tuning.report import TUNING_SCHEMA, TuningReport
from echoexport.profiles.tuning.trials import (
    ClipTrial,
    TimedFrames,
    measure_trial,
    render_timed,
)
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.rates import Rate, exact_rate
from echoexport.runtime.progress import Progress
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings

__all__ = ["Kept", "StudySettings", "list_arithmetics", "study_choices"]


_HELD = ("denoising_unet", "vae_decoder")


class Kept(Protocol):
    """Where what was measured is kept, for the run after an interrupt."""

    def read(self, name: str) -> Any:
        """What was written under a name, None where there is nothing."""

    def write(self, name: str, value: Any) -> None:
        """Keep a value that JSON can hold."""

    def read_arrays(self, name: str) -> dict[str, NDArray[Any]] | None:
        """As ``read``, of arrays."""

    def write_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """As ``write``, of arrays."""


@dataclass(frozen=True)
class StudySettings:
    """How to measure."""

    fps: Rate | None = None
    """Frames a second; None takes the bundle's."""
    seed: int = 0
    """Of the noise."""
    renderings: int = 3
    """At least so many of each choice are timed, over all clips together."""
    backend: str | None = None
    """The engine library; None takes each bundle's first that works here."""
    threads: int = 0
    """CPU threads; 0 leaves it to the backend."""
    scratch: Path = field(kw_only=True)
    """A folder for portraits' references, which every choice finds there."""

    def __post_init__(self) -> None:
        if self.renderings < 1:
            raise SettingError(f"{self.renderings} renderings: one or more are wanted")


def list_arithmetics(folder: Path, wanted: Sequence[str], *, backend: str | None) -> dict[str, str]:
    """What a bundle's engines can be asked for here, each with what networks compute in then.

    An empty name is the bundle's own choice, which comes first; what computes as one
    before it is left out. ``wanted`` empty takes all that the backend has; a compiled
    bundle has its own alone.

    Raises:
        SettingError: one that the backend has not, or any for a compiled bundle.
        BundleError, BackendError: the bundle cannot be opened.
    """
    with open_bundle(folder, backend=backend) as own:
        has = own.backend.arithmetic()
        if own.manifest.compiled is not None:
            if wanted:
                raise SettingError(
                    f"--compute {wanted[0]}: {folder} is compiled, and its engines compute as "
                    "they were compiled; leave it out"
                )
            return {"": _name_arithmetic(own)}
        found = {"": _name_arithmetic(own)}
        seen = [own.arithmetic()]
    for compute in wanted or has:
        if compute not in has:
            raise SettingError(f"--compute {compute}: the backend has {', '.join(has)} here")
        options = EngineOptions(compute=compute)
        with open_bundle(folder, backend=backend, options=options) as opened:
            if opened.arithmetic() not in seen:
                seen.append(opened.arithmetic())
                found[compute] = _name_arithmetic(opened)
    return found


def study_choices(
    grid: TuningGrid,
    clips: Sequence[ComparisonClip],
    *,
    settings: StudySettings,
    limits: TuningLimits,
    kept: Kept,
    report: Progress | None = None,
) -> TuningReport:
    """Measure every choice of a grid on every clip, and choose.

    What was measured is kept at once, and taken from there by the run after an
    interrupt. Memory holds one side's engines and the reference's frames of all clips.

    Raises:
        InputError: no clips, two of one name, or bundles that cannot render the same clip.
        SettingError, BackendError: what rendering raises.
    """
    check_clips(clips)
    tell = report or (lambda phase, done, total: None)
    work = _Study(grid, clips, settings, kept, tell)
    described = tuple(work.measure(side) for side in grid.sides)
    results = [
        summarize_choice(choice, [work.trials[choice, clip.name] for clip in clips], limits)
        for choice in grid.choices
    ]
    own = tuple(side.label for side in grid.sides if side.own)
    chosen = choose_quickest(results, present=grid.present, among=own)
    return TuningReport(
        schema=TUNING_SCHEMA,
        origin="measured",
        sides=described,
        own=own,
        limits=limits,
        fps=float(work.how.fps or 0),
        seed=settings.seed,
        reference=grid.reference,
        present=grid.present,
        chosen=chosen.choice,
        results=tuple(results),
        front=tuple(one.choice for one in find_front(results)),
        notes=work.list_notes(),
        conditions=replace(describe_circumstances(), threads=settings.threads),
    )


class _Study:
    """What was measured so far."""

    def __init__(
        self,
        grid: TuningGrid,
        clips: Sequence[ComparisonClip],
        settings: StudySettings,
        kept: Kept,
        tell: Progress,
    ) -> None:
        self.grid = grid
        self.clips = clips
        self.settings = settings
        self.kept = kept
        self.tell = tell
        self.trials: dict[tuple[TuningChoice, str], ClipTrial] = {}
        self.how = RenderSettings(fps=settings.fps, seed=settings.seed)
        self._frames: dict[str, Frames] = {}
        self._best = ""  # identity of what made the reference's frames
        self._first: Bundle | None = None
        self._taken = 0
        self._repeats = -(-settings.renderings // len(clips))

    def measure(self, side: TuningSide) -> BundleSide:
        """Every choice of a side on every clip; what is known already is not rendered again."""
        options = EngineOptions(compute=side.compute, threads=self.settings.threads)
        with open_bundle(side.folder, backend=self.settings.backend, options=options) as bundle:
            self._settle(bundle)
            identity = _identify(bundle, self.how)
            self._take_known(side, identity)
            left = [clip for clip in self.clips if self._is_left(side, clip)]
            if left:
                self._measure_open(bundle, side, identity, left)
            return describe_side(bundle, side.label)

    def list_notes(self) -> tuple[str, ...]:
        """What a reader should know of the figures."""
        notes = []
        if self._taken:
            notes.append(
                f"{self._taken} of {len(self.trials)} renderings were measured before an "
                "interrupt: their speeds are of that time"
            )
        if not any(trial.scores for trial in self.trials.values()):
            notes.append(
                "no mouth was measured: no face box is known, or no mouth moves; lip-sync was "
                "not judged"
            )
        return tuple(notes)

    def _settle(self, bundle: Bundle) -> None:
        """The first bundle's rate is everybody's; another must render the same clips."""
        if self._first is None:
            self._first = bundle
            fps = bundle.manifest.fps if self.how.fps is None else self.how.fps
            self.how = replace(self.how, fps=exact_rate(fps))
            self._best = _identify(bundle, self.how)
            return
        names = (self._first.folder.name, bundle.folder.name)
        require_comparable(self._first.manifest, bundle.manifest, names=names)

    def _take_known(self, side: TuningSide, identity: str) -> None:
        """What an earlier run measured of a side, and the frames of the reference's."""
        for clip in self.clips:
            for choice in self.grid.of_side(side):
                found = self.kept.read(self._name(clip, choice, identity))
                if found is not None:
                    self.trials[choice, clip.name] = parse(ClipTrial, found, where="trial")
                    self._taken += 1
            if side == self.grid.sides[0]:
                arrays = self.kept.read_arrays(self._name_frames(clip))
                if arrays is not None:
                    self._frames[clip.name] = arrays["frames"]

    def _is_left(self, side: TuningSide, clip: ComparisonClip) -> bool:
        """Whether a side has something to render for a clip."""
        every = all((choice, clip.name) in self.trials for choice in self.grid.of_side(side))
        return not every or clip.name not in self._frames

    def _measure_open(
        self, bundle: Bundle, side: TuningSide, identity: str, left: list[ComparisonClip]
    ) -> None:
        with ExitStack() as stack:
            held = stack.enter_context(bundle.lease())
            cache = ReferenceCache(self.settings.scratch)
            session = stack.enter_context(Session(bundle, cache=cache, frugal=is_large(bundle)))
            for name in _HELD:  # a frugal session would close them after each clip
                held.network(name)
            for clip in left:
                self._warm_up(session, clip)
                ready = self._require_reference(session, clip)
                for choice in self.grid.of_side(side):
                    if (choice, clip.name) in self.trials:
                        continue
                    found = ready if choice == self.grid.reference else []
                    more = self._repeats - len(found)
                    found = [*found, *self._render(session, clip, choice, times=more)]
                    trial = measure_trial(clip, self._frames[clip.name], found)
                    self.trials[choice, clip.name] = trial
                    self.kept.write(self._name(clip, choice, identity), dump(trial))
                    self.tell(side.label, len(self.trials), self._count())

    def _warm_up(self, session: Session, clip: ComparisonClip) -> None:
        """A window of a clip: opens what is not open, and keeps the portrait's reference."""
        frames = session.bundle.manifest.window.frames
        short = replace(clip, frames=min(clip.frames or frames, frames))
        least = min(self.grid.choices, key=lambda choice: choice.steps)
        render_timed(session, short, least, self.how)

    def _require_reference(self, session: Session, clip: ComparisonClip) -> list[TimedFrames]:
        """Render the reference's frames of a clip where they are not known.

        What was rendered is given. The reference's side is the first, so that no other has
        to do it.
        """
        if clip.name in self._frames:
            return []
        found = self._render(session, clip, self.grid.reference, times=1)
        self._frames[clip.name] = found[0].frames
        self.kept.write_arrays(self._name_frames(clip), {"frames": found[0].frames})
        return found

    def _render(
        self, session: Session, clip: ComparisonClip, choice: TuningChoice, *, times: int
    ) -> list[TimedFrames]:
        return [render_timed(session, clip, choice, self.how) for _ in range(times)]

    def _count(self) -> int:
        return len(self.grid.choices) * len(self.clips)

    def _name_frames(self, clip: ComparisonClip) -> str:
        return f"frames-{self._name(clip, self.grid.reference, self._best)}"

    def _name(self, clip: ComparisonClip, choice: TuningChoice, identity: str) -> str:
        parts = [
            str(TUNING_SCHEMA),
            identity,
            self._best,
            repr(self.grid.reference),
            repr((choice.steps, choice.overlap, choice.decoder, self._repeats)),
            clip.name,
            _hash_clip(clip),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _name_arithmetic(bundle: Bundle) -> str:
    return "/".join(sorted(set(bundle.arithmetic().values())))


def _identify(bundle: Bundle, how: RenderSettings) -> str:
    """All that a bundle's frames depend on, but for steps and overlap."""
    manifest = bundle.manifest
    numbers = (manifest.window.frames, manifest.window.shift, manifest.picture, manifest.audio)
    sampler = replace(manifest.sampler, steps=0, live_steps=None)
    return "/".join(
        [
            bundle.identity(*manifest.networks),
            repr(numbers),
            repr(sampler),
            repr(how),
            str(bundle.options.threads),
        ]
    )


def _hash_clip(clip: ComparisonClip) -> str:
    """What is rendered: portrait, face and voice, and the poses that its frames take."""
    digest = hashlib.sha256(repr(clip.frames).encode())
    inputs = clip.inputs
    for array in (inputs.picture, inputs.mask, inputs.voice.samples):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    for index in range(0 if inputs.poses is None else len(inputs.poses)):
        digest.update(np.ascontiguousarray(inputs.poses[index]).tobytes())
    return digest.hexdigest()
