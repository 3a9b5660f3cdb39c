"""A second run with the same portrait against the first.

What the reference cache saves, in memory and on disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from random_bundle import WIDTHS, default_folder, draw_inputs, make_bundle
from results_file import parse_arguments, write_results

from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

ONCE = ("vae_encoder", "reference_unet", "landmark_encoder")
"""Networks that a portrait needs once."""


def main() -> None:
    """Render a clip three times: nothing cached, cached by another process, cached by this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=WIDTHS, default="half", help="network widths")
    parser.add_argument("--pixels", type=int, default=128, help="side of the pictures")
    parser.add_argument("--window", type=int, default=4, help="frames of a window")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder",
        type=Path,
        default=default_folder(),
        help="where checkpoints and bundles are kept",
    )
    arguments = parse_arguments(parser, name="reference_cache")
    _, folder = make_bundle(
        arguments.size, pixels=arguments.pixels, frames=arguments.window, folder=arguments.folder
    )
    with open_bundle(folder) as bundle:
        results = measure_runs(bundle, repeats=arguments.repeats)
    sizes = {key: getattr(arguments, key) for key in ("size", "pixels", "window", "repeats")}
    write_results(arguments.output, {**sizes, **results})


def measure_runs(bundle: Bundle, *, repeats: int) -> dict[str, Any]:
    """Medians over rounds; engines are open and warm in each, so that compiling does not count."""
    inputs = draw_inputs(bundle.manifest.picture.width, bundle.manifest.picture.height)
    settings = RenderSettings(frames=bundle.manifest.window.frames, steps=2)
    measure_run(Session(bundle), inputs, settings)
    rounds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            first = Session(bundle, cache=ReferenceCache(folder))
            later = Session(bundle, cache=ReferenceCache(folder))
            sessions = {
                "first run": first,
                "second run, from disk": later,
                "second run, from memory": first,
            }
            rounds.append(
                {
                    label: measure_run(session, inputs, settings)
                    for label, session in sessions.items()
                }
            )
    return {label: summarize_runs([each[label] for each in rounds], rounds) for label in rounds[0]}


def measure_run(
    session: Session, inputs: RenderInputs, settings: RenderSettings
) -> tuple[float, dict[str, int]]:
    """Seconds of a render, latents and frames, and calls of the portrait's networks.

    Those are the networks that a portrait needs once.
    """
    before = session.networks.calls()
    start = time.perf_counter()
    for _ in session.render(inputs, settings):
        pass
    seconds = time.perf_counter() - start
    after = session.networks.calls()
    return seconds, {name: after[name] - before[name] for name in ONCE}


def summarize_runs(runs: list[Any], rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Median seconds, how many times faster than the first run, and how often the networks ran."""
    seconds = median(run[0] for run in runs)
    first = median(each["first run"][0] for each in rounds)
    sys.stdout.write(f"  median {seconds:7.3f} s   {first / seconds:5.2f} x   {runs[-1][1]}\n")
    return {
        "p50": round(seconds, 4),
        "times_faster": round(first / seconds, 2),
        "calls": runs[-1][1],
    }


if __name__ == "__main__":
    main()
