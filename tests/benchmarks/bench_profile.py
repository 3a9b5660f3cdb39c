"""Whether profiles repeat.

The built-in character profiled several times, with what its stages leave out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from results_file import parse_arguments, write_results

from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.cli.demo import find_arithmetic, find_own_target
from echoexport.export.demo.assets import (
    CHARACTER_SIZE,
    CHARACTER_VARIANT,
    builtin_checkpoint,
    builtin_face_box,
    builtin_portrait,
    builtin_voice,
)
from echoexport.profiles.measuring.circumstances import describe_machine
from echoexport.profiles.measuring.modes import IN_TURNS
from echoexport.profiles.measuring.rounds import ClipWork
from echoexport.profiles.modelling.demand import DENOISER
from echoexport.profiles.pages.profile_page import format_profile_page
from echoexport.profiles.reports.mode_report import UNACCOUNTED
from echoexport.profiles.reports.profile import NOISE, ProfileReport
from echoexport.profiles.reports.profile_compare import find_culprits
from echoexport.profiles.reports.profile_run import ProfileEffort, profile_bundle
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.files.cache_folders import find_cache_folder
from echoexport.runtime.rendering.clip import ClipRequest
from echoexport.runtime.rendering.settings import RenderSettings
from echoexport.targets.spec import load_target


def main() -> None:
    """Build once, profile as often as asked, and write how far the denoiser's medians are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="of each profile")
    parser.add_argument("--frames", type=int, default=144)
    parser.add_argument(
        "--bundle", type=Path, help="a bundle of the built-in character that is there already"
    )
    arguments = parse_arguments(parser, name="profile")
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle or build_character(Path(folder) / "bundle")
        clip = ClipRequest(
            builtin_portrait(),
            builtin_voice(),
            "",
            face_box=builtin_face_box(),
            settings=RenderSettings(fps=25, frames=arguments.frames),
        )
        engine = EngineOptions(compute=find_arithmetic(find_own_target()))
        work = ClipWork(bundle, None, engine, clip, Path(folder))
        before = describe_machine().load
        plan = ProfileEffort(repeats=arguments.repeats)
        reports = [profile_bundle(work, plan).report for _ in range(arguments.profiles)]
    load = {"load_before": before, "load_after": describe_machine().load}
    write_results(arguments.output, {"schema": 1, "origin": "measured", **load, **sum_up(reports)})


def build_character(folder: Path) -> Path:
    """The built-in character for this machine."""
    settings = BuildSettings(
        variant=CHARACTER_VARIANT, size=CHARACTER_SIZE, traces=find_cache_folder("traces")
    )
    build_bundle(
        builtin_checkpoint(), folder, target=load_target(find_own_target()), settings=settings
    )
    return folder


def sum_up(reports: list[ProfileReport]) -> dict[str, Any]:
    """Medians of every profile, their spread, and whether the reports own up to it.

    The spread is how far the largest is above the smallest.
    """
    medians = []
    shares = []
    for report in reports:
        turns = report.mode(IN_TURNS) or report.headline
        denoiser = turns.network(DENOISER)
        medians.append(0.0 if denoiser is None else denoiser.host.figures.p50)
        shares.append(
            next(s.share for s in turns.stages if (s.track, s.name) == ("main", UNACCOUNTED))
        )
    apart = max(medians) / max(min(medians), 1e-12) - 1
    noisy = [report.verdict.noisy for report in reports]
    found = {
        "denoiser_p50": [round(value, 5) for value in medians],
        "apart": round(apart, 4),
        "allowed": NOISE,
        "drift": [[round(mode.drift or 0.0, 4) for mode in report.modes] for report in reports],
        "held": apart <= NOISE or any(noisy),
        "noisy": noisy,
        "unaccounted_share": [round(s, 5) for s in shares],
        "verdicts": [report.verdict.line for report in reports],
        "fps": [round(report.verdict.fps, 2) for report in reports],
        "culprits_of_a_second_profile": find_culprits(reports[0], reports[-1]),
        "page_bytes": [len(format_profile_page(report).encode()) for report in reports],
    }
    sys.stdout.write(f"  {found}\n")
    return found


if __name__ == "__main__":
    main()
