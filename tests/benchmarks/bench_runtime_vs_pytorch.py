"""The runtime against PyTorch eager done the original's way.

Same networks, inputs, windows and steps, in turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from original_way import TorchBackend
from random_bundle import WIDTHS, default_folder, draw_inputs, make_bundle
from results_file import parse_arguments, show, summarize, write_results

from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.profiles.measuring.circumstances import (
    describe_machine,
    describe_network_circumstances,
)
from echoexport.profiles.measuring.latency import (
    Comparison,
    compare_side_by_side,
    read_self_test_inputs,
)
from echoexport.runtime.bundle.network import compare_outputs
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import EchoExportError
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings

BASELINE = "pytorch fp32"
CONTESTANTS = {
    "openvino fp32": ("openvino", "fp32"),
    "openvino bf16": ("openvino", "bf16"),
    "ort fp32": ("ort", "fp32"),
}
WANTED = {"openvino fp32": 1.5, "openvino bf16": 2.5}
"""Times faster than PyTorch that a denoiser call at half the channels should be."""
STEPS = 4
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Measure each size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=[*WIDTHS, "all"], default="all", help="network widths")
    parser.add_argument("--pixels", type=int, default=128, help="side of the pictures")
    parser.add_argument("--window", type=int, default=4, help="frames of a window")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of denoiser calls")
    parser.add_argument(
        "--render-rounds", type=int, default=3, help="rounds of whole renders, 0 for none"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of every contestant, 0 for its own choice"
    )
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu is fair with --threads 1 only"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=default_folder(),
        help="where checkpoints and bundles are kept",
    )
    arguments = parse_arguments(parser, name="runtime_vs_pytorch")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    sizes = WIDTHS if arguments.size == "all" else [arguments.size]
    results: dict[str, Any] = {}
    for size in sizes:  # written after each, so that a run that is cut short still leaves something
        results[size] = measure_size(size, arguments)
        write_results(
            arguments.output,
            {"baseline": BASELINE, "wanted_times_faster_at_half": WANTED, "sizes": results},
        )


def measure_size(size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Denoiser calls, then whole renders, at one size."""
    checkpoint, folder = make_bundle(
        size, pixels=arguments.pixels, frames=arguments.window, folder=arguments.folder
    )
    common = {
        "network_widths": {"unet": WIDTHS[size][0], "vae": WIDTHS[size][1]},
        "pixels": arguments.pixels,
        "window_frames": arguments.window,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "load_before": describe_machine().load,
    }
    with open_contestants(checkpoint, folder, threads=arguments.threads) as (bundles, missing):
        found: dict[str, Any] = {"not_measured": missing}
        sys.stdout.write(f"{size}: one denoiser call\n")
        found["denoiser_call"] = measure_calls(bundles, arguments)
        if arguments.render_rounds:
            sys.stdout.write(
                f"{size}: a render of {2 * arguments.window} frames in {STEPS} steps\n"
            )
            found["render"] = measure_renders(bundles, arguments)
    return {**common, **found, "load_after": describe_machine().load}


@contextmanager
def open_contestants(
    checkpoint: Path, folder: Path, *, threads: int
) -> Iterator[tuple[dict[str, Bundle], dict[str, str]]]:
    """A bundle per contestant, PyTorch first; and why those that cannot run here cannot."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        torch_backend = TorchBackend(open_checkpoint(checkpoint, "acc"))
        options = EngineOptions(threads=threads)
        torch_bundle = Bundle(folder, read_manifest(folder), backend=torch_backend, options=options)
        bundles = {BASELINE: stack.enter_context(torch_bundle)}
        for label, (backend, compute) in CONTESTANTS.items():
            try:
                options = EngineOptions(compute=compute, threads=threads)
                bundle = stack.enter_context(open_bundle(folder, backend=backend, options=options))
                bundle.network("denoising_unet")
                bundles[label] = bundle
            except EchoExportError as error:
                missing[label] = str(error)
                sys.stdout.write(f"  {label}: not measured: {error}\n")
        yield bundles, missing


def measure_calls(bundles: dict[str, Bundle], arguments: argparse.Namespace) -> dict[str, Any]:
    """One denoiser call on the self-test's inputs.

    PyTorch gets banks where the others get keys and values.
    """
    inputs = read_self_test_inputs(bundles[BASELINE], "denoising_unet")
    latents = read_self_test_inputs(bundles[BASELINE], "reference_unet")
    banks = bundles[BASELINE].network("reference_unet")(latents)
    outputs: dict[str, dict[str, np.ndarray]] = {}

    def call(label: str) -> None:
        given = {**inputs, **banks} if label == BASELINE else inputs
        outputs[label] = bundles[label].network("denoising_unet")(given)

    comparison = take_turns(bundles, call, rounds=arguments.rounds, clock=CLOCKS[arguments.clock])
    differences = {
        label: compare_outputs(found, outputs[BASELINE]) for label, found in outputs.items()
    }
    return add_differences(comparison, differences)


def measure_renders(bundles: dict[str, Bundle], arguments: argparse.Namespace) -> dict[str, Any]:
    """A whole clip of two windows' length, from the portrait to frames, nothing cached."""
    manifest = bundles[BASELINE].manifest
    inputs = draw_inputs(manifest.picture.width, manifest.picture.height)
    settings = RenderSettings(frames=2 * manifest.window.frames, steps=STEPS, overlap=1)
    latents: dict[str, dict[str, np.ndarray]] = {}
    frames: dict[str, np.ndarray] = {}

    def render(label: str) -> None:
        rendering = Session(bundles[label]).render(inputs, settings)
        frames[label] = np.stack(list(rendering)).astype(np.int16)
        latents[label] = {"latents": rendering.latents}

    comparison = take_turns(
        bundles, render, rounds=arguments.render_rounds, clock=CLOCKS[arguments.clock]
    )
    differences = {
        label: compare_outputs(found, latents[BASELINE]) for label, found in latents.items()
    }
    levels = {label: int(np.abs(found - frames[BASELINE]).max()) for label, found in frames.items()}
    plan = {"frames": settings.frames, "steps": settings.steps, "window_overlap": settings.overlap}
    return {
        **plan,
        "frames_differ_by_levels": levels,
        "contestants": add_differences(comparison, differences),
    }


def take_turns(
    bundles: dict[str, Bundle],
    call: Callable[[str], None],
    *,
    rounds: int,
    clock: Callable[[], float],
) -> Comparison:
    """Rounds of every contestant's call, after one that does not count."""
    calls = {label: partial(call, label) for label in bundles}
    conditions = {
        label: describe_network_circumstances(bundle, "denoising_unet")
        for label, bundle in bundles.items()
    }
    comparison = compare_side_by_side(
        calls, warmup=1, repeats=rounds, conditions=conditions, clock=clock
    )
    show(comparison)
    return comparison


def add_differences(comparison: Comparison, differences: dict[str, float]) -> dict[str, Any]:
    """The timings, and how far each contestant's output is from PyTorch's.

    The distance is relative to the output's largest value.
    """
    return {
        label: {**entry, "difference": float(f"{differences[label]:.2g}")}
        for label, entry in summarize(comparison).items()
    }


if __name__ == "__main__":
    main()
