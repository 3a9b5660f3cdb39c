"""What the forecast's options do to the built-in character's picture.

The table that ships with the package.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results_file import write_results

from echoexport.export.demo.quality_clips import ClipSettings, is_character, list_quality_clips
from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.modelling.forecast_options import FORECAST_SCHEMA, OptionCosts, QualityCost
from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.mouth import SOUND
from echoexport.profiles.quality.pictures import psnr, ssim
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings

Frames = NDArray[np.uint8]
SHIPPED = Path(__file__).parents[2] / "profiles" / "data" / "option_costs.json"


@dataclass(frozen=True)
class Change:
    """One option: the key that the forecast looks it up by, and the runs it is between."""

    key: str
    before: RenderSettings
    after: RenderSettings
    int8: bool = False


def list_changes(*, steps: int, overlap: int) -> list[Change]:
    """What is rendered: fewer steps from each usual number, less overlap, and int8.

    No overlap is tried from the bundle's and from the original's.
    """
    plain = RenderSettings(steps=steps, overlap=overlap, hold=0)
    changes = [
        Change(
            f"steps {before} to {after}", replace(plain, steps=before), replace(plain, steps=after)
        )
        for before, after in ((6, 4), (6, 2), (4, 2))
    ]
    changes += [
        Change(f"overlap {before} to 0", replace(plain, overlap=before), replace(plain, overlap=0))
        for before in sorted({overlap, 3} - {0})
    ]
    return [*changes, Change("int8", plain, plain, int8=True)]


def main() -> None:
    """Render every clip at every setting, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bundle", type=Path, required=True, help="an fp32 bundle of the built-in character"
    )
    parser.add_argument(
        "--int8", type=Path, help="an int8 bundle of it; without, that option is not measured"
    )
    parser.add_argument(
        "--people", type=int, default=3, help="drawn people beside the built-in portrait"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of a clip at most")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="the table (JSON)")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        bundle = stack.enter_context(
            open_bundle(arguments.bundle, options=EngineOptions(compute="fp32"))
        )
        small = arguments.int8 and stack.enter_context(open_bundle(arguments.int8))
        if not all(is_character(one.manifest) for one in (bundle, small) if one):
            raise SystemExit(f"{arguments.bundle}: not the built-in character's")
        plan = ClipSettings(people=arguments.people, seconds=arguments.seconds)
        clips = list_quality_clips(bundle.manifest, plan, fps=bundle.manifest.fps)
        costs = measure_costs(bundle, small, clips)
        note = describe_run(bundle, clips)
    write_results(
        arguments.output,
        dump(OptionCosts(FORECAST_SCHEMA, note, costs))
        | {"conditions": dump(describe_circumstances())},
    )


def measure_costs(
    bundle: Bundle, small: Bundle | None, clips: Sequence[ComparisonClip]
) -> dict[str, QualityCost]:
    """Key to cost: each setting is rendered once, clip by clip, and every pair compared."""
    manifest = bundle.manifest
    changes = list_changes(steps=manifest.sampler.most_steps, overlap=manifest.window.overlap)
    changes = [change for change in changes if small is not None or not change.int8]
    figures: dict[str, list[tuple[int, float, float, float | None]]] = {
        change.key: [] for change in changes
    }
    for clip in clips:
        shown: dict[tuple[bool, RenderSettings], Frames] = {}

        def render(
            settings: RenderSettings, *, int8: bool, clip: ComparisonClip = clip, shown: Any = shown
        ) -> Frames:
            if (int8, settings) not in shown:
                rendering = Session(small if int8 and small else bundle).render(
                    clip.inputs, settings
                )
                shown[int8, settings] = np.stack(list(rendering))
            return shown[int8, settings]

        for change in changes:
            before = render(change.before, int8=False)
            after = render(change.after, int8=change.int8)
            figures[change.key].append(compare(before, after, clip))
        sys.stdout.write(f"  {clip.name}: {len(shown)} renderings\n")
        sys.stdout.flush()
    return {change.key: summarize(figures[change.key], change) for change in changes}


def compare(
    before: Frames, after: Frames, clip: ComparisonClip
) -> tuple[int, float, float, float | None]:
    """Frames, mean PSNR, mean SSIM, and by how much the mouth follows the sound more.

    None for a silent clip.
    """
    one, other = (clip.score(frames, before) if clip.score else {} for frames in (before, after))
    sync = other[SOUND] - one[SOUND] if SOUND in one and SOUND in other else None
    return len(before), float(psnr(after, before).mean()), float(ssim(after, before).mean()), sync


def summarize(
    figures: Sequence[tuple[int, float, float, float | None]], change: Change
) -> QualityCost:
    """Means over clips, weighted by their frames; of the mouth over those that speak."""
    frames, decibels, likeness, sync = zip(*figures, strict=True)
    spoken = [value for value in sync if value is not None]
    return QualityCost(
        round(float(np.average(decibels, weights=frames)), 2),
        round(float(np.average(likeness, weights=frames)), 4),
        round(float(np.mean(spoken)), 4) if spoken else None,
        f"{sum(frames)} frames of {len(figures)} clips, against "
        + (
            "fp32"
            if change.int8
            else f"{change.before.steps} steps, overlap {change.before.overlap}"
        ),
    )


def describe_run(bundle: Bundle, clips: Sequence[ComparisonClip]) -> str:
    """The conditions in one line."""
    manifest = bundle.manifest
    return (
        f"the built-in character, {manifest.picture.width} x {manifest.picture.height} px, "
        f"fp32, {len(clips)} clips, "
        f"one seed; unless an option says otherwise {manifest.sampler.most_steps} steps, overlap "
        f"{manifest.window.overlap}"
    )


if __name__ == "__main__":
    main()
