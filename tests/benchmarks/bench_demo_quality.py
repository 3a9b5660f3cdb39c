"""The quality gates on a bundle.

Held-out people and voices, every figure against its limit, strips to look at.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from results_file import parse_arguments, write_results

from echoexport.export.demo.gates.clips import ClipResult, GateCase
from echoexport.export.demo.gates.run import (
    GateReport,
    GateSettings,
    format_report,
    identify_bundle,
    render_with,
    run_gates,
)
from echoexport.export.demo.gates.strip import draw_clip_strip
from echoexport.export.demo.held_out import read_held_out
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.engine.protocol import EngineOptions

HELD_OUT = Path(__file__).parent.parent / "export" / "demo" / "data" / "held_out.npz"
CURVES = ("truth", "measured", "lags")


def main() -> None:
    """Run the gates, write the results, exit 1 where one is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bundle", type=Path, required=True, help="a bundle of the demo's checkpoint"
    )
    parser.add_argument(
        "--backend", help="of those the bundle lists; default: its best that is installed"
    )
    parser.add_argument("--compute", default="fp32", help="the engine's arithmetic, e.g. bf16")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of the engine, 0 for its own choice"
    )
    parser.add_argument("--clips", type=int, default=40, help="clips that speak")
    parser.add_argument("--steps", type=int, default=6, help="sampling steps")
    parser.add_argument("--seconds", type=float, help="of a clip at most")
    parser.add_argument(
        "--drift-seconds", type=float, default=60.0, help="length of the long clip, 0 for none"
    )
    parser.add_argument("--strips", type=Path, help="folder for a picture strip of every clip")
    parser.add_argument(
        "--progress",
        type=Path,
        help="file of finished clips; a run that was cut short goes on from it",
    )
    arguments = parse_arguments(parser, name="demo_quality")
    options = EngineOptions(compute=arguments.compute, threads=arguments.threads)
    with open_bundle(arguments.bundle, backend=arguments.backend, options=options) as bundle:
        report = run(bundle, arguments)
    sys.stdout.write(format_report(report))
    write_results(arguments.output, shorten(report))
    if not report.passed:
        raise SystemExit(1)


def run(bundle: Bundle, arguments: argparse.Namespace) -> GateReport:
    """The gates on an open bundle, clip by clip."""
    settings = GateSettings(
        clips=arguments.clips,
        steps=arguments.steps,
        seconds=arguments.seconds,
        drift_seconds=arguments.drift_seconds,
        size=bundle.manifest.picture.width,
    )
    about = {**identify_bundle(bundle), "settings": repr(settings)}

    def tell(result: ClipResult, frames: np.ndarray, case: GateCase) -> None:
        found = (
            "silent"
            if result.correlation is None
            else f"r = {result.correlation:.2f}, lag {result.lag}"
        )
        sys.stderr.write(
            f"{result.name} ({result.frames} frames in {result.seconds:.1f} s): {found}\n"
        )
        if arguments.progress:
            with arguments.progress.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"about": about, "clip": dump(result)}) + "\n")
        if arguments.strips:
            rank = "silent" if result.correlation is None else f"{result.correlation:.3f}"
            draw_clip_strip(
                arguments.strips / f"{rank}-{result.name}.png",
                frames,
                case.clip.samples,
                result=result,
            )

    return run_gates(
        render_with(bundle, settings),
        read_held_out(HELD_OUT),
        settings=settings,
        on_clip=tell,
        known=read_progress(arguments.progress, about),
        bundle=identify_bundle(bundle),
    )


def read_progress(path: Path | None, about: dict[str, str]) -> list[ClipResult]:
    """The clips that an earlier run of the same bundle and settings finished."""
    if path is None or not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        parse(ClipResult, entry["clip"], where="clip")
        for entry in entries
        if entry["about"] == about
    ]


def shorten(report: GateReport) -> dict[str, object]:
    """The report without its conditions, which the results file has of its own, and the curves."""
    written = dump(report)
    del written["conditions"]
    written["clips"] = [
        {key: value for key, value in clip.items() if key not in CURVES}
        for clip in written["clips"]
    ]
    return dict(written)


if __name__ == "__main__":
    main()
