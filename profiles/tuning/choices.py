"""What there is to choose from: steps, overlap, arithmetic, and other builds of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.noise_schedule import is_whole
from echoexport.runtime.contract.settings import spell_steps
from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.ddim import DDIMScheduler

__all__ = ["DEFAULT_STEPS", "TuningChoice", "TuningGrid", "TuningSide", "lay_grid"]

DEFAULT_STEPS = (1, 2, 3, 4, 6)
"""Those that are tried where nobody names others."""

_DECODER = "vae_decoder"


@dataclass(frozen=True)
class TuningSide:
    """A bundle with an arithmetic: what has engines of its own."""

    label: str
    """What it is called in tables, e.g. "bf16" or "demo-int8 int8"."""
    folder: Path
    """The bundle."""
    compute: str
    """What its engines are asked to compute in; empty for the bundle's own choice."""
    own: bool
    """Whether it is of the bundle that is tuned; defaults can be written into that one alone."""


@dataclass(frozen=True)
class TuningChoice:
    """One way to render a clip."""

    side: str
    """Label of its :class:`TuningSide`."""
    steps: int
    """Of the sampling loop."""
    overlap: int
    """Frames that neighbouring windows share."""
    decoder: str = _DECODER
    """The network that makes pictures of latents."""

    def describe(self) -> str:
        """In a few words."""
        steps = spell_steps(self.steps)
        return f"{steps}, overlap {self.overlap}, {self.side}"


@dataclass(frozen=True)
class TuningGrid:
    """All choices, and the two that the others are held to."""

    sides: tuple[TuningSide, ...]
    """The first is the reference's."""
    choices: tuple[TuningChoice, ...]
    """Every one once, side by side."""
    reference: TuningChoice
    """The bundle's best: most steps, in fp32 where it can be had."""
    present: TuningChoice
    """The bundle's default as it is."""

    def of_side(self, side: TuningSide) -> list[TuningChoice]:
        """The choices of one side."""
        return [choice for choice in self.choices if choice.side == side.label]


def lay_grid(
    manifest: Manifest,
    sides: Sequence[TuningSide],
    *,
    present: str,
    steps: Sequence[int] = DEFAULT_STEPS,
    overlaps: Sequence[int] | None = None,
    tried: Sequence[str] | None = None,
) -> TuningGrid:
    """Every number of steps with every overlap on every side, the bundle's default included.

    ``manifest`` is the bundle's that is tuned, ``sides`` begin with the reference's, and
    ``present`` is the label of the side that the bundle runs as now. ``overlaps`` None
    are the bundle's own and none at all. ``tried`` are labels of the sides that the
    choices are laid on, None for all.

    Raises:
        SettingError: steps of which there is no schedule, or an overlap that does not fit
            the window.
    """
    own = manifest.window.overlap
    wanted = (own, 0) if overlaps is None else tuple(overlaps)
    if not steps or not wanted:
        raise SettingError("no steps or overlaps to try: name one or more of each")
    scheduler = DDIMScheduler(manifest.sampler.scheduler)
    for count in steps:
        scheduler.timesteps(count)
    for overlap in wanted:
        if not is_whole(overlap) or not 0 <= overlap < manifest.window.frames:
            raise SettingError(
                f"overlap {overlap!r}: 0 to {manifest.window.frames - 1} frames fit this "
                "bundle's window"
            )
    default = TuningChoice(present, manifest.sampler.steps, own)
    best = TuningChoice(sides[0].label, max(*steps, manifest.sampler.steps), own)
    found = [best, default]
    for side in sides if tried is None else [one for one in sides if one.label in tried]:
        for overlap in wanted:
            found += [TuningChoice(side.label, count, overlap) for count in sorted(steps)]
    return TuningGrid(tuple(sides), tuple(dict.fromkeys(found)), best, default)
