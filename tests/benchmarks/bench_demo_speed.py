"""How fast the built-in character is rendered, by fresh processes: 1, 4 and 6 steps in turn."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from results_file import parse_arguments, write_results

from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.cli.demo import compile_engines, find_arithmetic, find_own_target
from echoexport.export.demo.assets import (
    CHARACTER_SIZE,
    CHARACTER_VARIANT,
    builtin_checkpoint,
    builtin_face_box,
    builtin_portrait,
    builtin_voice,
)
from echoexport.runtime.files.cache_folders import find_cache_folder
from echoexport.targets.spec import load_target

CHILD = "from echoexport.export.cli import main; main()"
STEPS = ("1", "4", "6")
"""The character's default first."""

FIGURES = ("frames_per_second", "real_time_factor", "cold_start_seconds", "peak_memory")


def main() -> None:
    """Build once, render in turn, write medians and every single run."""
    arguments = read_arguments()
    target = find_own_target()
    compute = find_arithmetic(target)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        settings = BuildSettings(
            variant=CHARACTER_VARIANT, size=CHARACTER_SIZE, traces=find_cache_folder("traces")
        )
        build_bundle(builtin_checkpoint(), bundle, target=load_target(target), settings=settings)
        compile_engines(bundle, compute=compute)
        once = partial(render, bundle, Path(folder), fps=arguments.fps, compute=compute)
        runs: dict[str, list[dict[str, Any]]] = {f"{steps} steps": [] for steps in STEPS}
        first = once(steps=STEPS[0])  # keeps the reference
        for _ in range(arguments.repeats):
            for label, found in runs.items():
                found.append(once(steps=label.split()[0]))
    results = {
        label: {name: middle(found, name) for name in FIGURES} for label, found in runs.items()
    }
    for label, figures in results.items():
        sys.stdout.write(f"{label}: {figures}\n")
    last = runs[f"{STEPS[0]} steps"][-1]
    about = {
        "target": target,
        "backend": last["conditions"]["backend"],
        "compute": compute,
        "frames": last["report"]["frames"],
        "fps": arguments.fps,
        "overlap": last["overlap"],
        "repeats": arguments.repeats,
        "reference": tell_reference(last),
        "before": {"reference": tell_reference(first), **{name: first[name] for name in FIGURES}},
        "origin": "measured",
    }
    singles = {
        label: [{name: run[name] for name in FIGURES} for run in found]
        for label, found in runs.items()
    }
    write_results(arguments.output, {**about, "medians": results, "runs": singles})


def read_arguments() -> argparse.Namespace:
    """Rounds, frames a second, and where the results go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=5, help="rounds, each with every number of steps"
    )
    parser.add_argument("--fps", type=int, default=25)
    return parse_arguments(parser, name="demo_speed")


def render(bundle: Path, folder: Path, *, steps: str, fps: int, compute: str) -> dict[str, Any]:
    """One rendering in a process of its own.

    The reference comes from the cache where it is kept, as on a kiosk.
    """
    box = ",".join(f"{value:g}" for value in builtin_face_box())
    files = [
        str(bundle),
        "-p",
        str(builtin_portrait()),
        "-v",
        str(builtin_voice()),
        "--face-box",
        box,
    ]
    settings = [
        "--steps",
        steps,
        "--fps",
        str(fps),
        "--compute",
        compute,
        "--report",
        str(folder / "run.json"),
    ]
    command = [sys.executable, "-c", CHILD, "run", *files, *settings, "-o", str(folder / "out.mp4")]
    subprocess.run(command, check=True, capture_output=True)
    run: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return run


def tell_reference(run: dict[str, Any]) -> str:
    """Where the portrait's keys and values came from.

    They take three more networks where they are computed.
    """
    return "computed" if run["report"]["calls"]["reference_unet"] else "from the cache"


def middle(runs: list[dict[str, Any]], name: str) -> float | None:
    """The median of one figure; None where the system does not tell it."""
    values = [run[name] for run in runs]
    return None if None in values else round(statistics.median(values), 3)


if __name__ == "__main__":
    main()
