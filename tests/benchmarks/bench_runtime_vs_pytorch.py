"""The runtime against PyTorch eager done the original's way: same networks, inputs, windows and steps, in turns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.profiles.conditions import describe_network_conditions
from echoexport.profiles.latency import Comparison, compare_side_by_side, read_self_test_inputs
from echoexport.runtime.backends import EngineOptions, load_backend
from echoexport.runtime.bundle import Bundle, open_bundle
from echoexport.runtime.errors import EchoExportError
from echoexport.runtime.manifest import read_manifest
from echoexport.runtime.network import compare_outputs
from echoexport.runtime.session import RenderInputs, RenderSettings, Session
from echoexport.runtime.voice import voice_from_samples

from original_way import TorchBackend
from random_bundle import WIDTHS, default_folder, make_bundle
from results_file import parse_arguments, show, summarize, write_results

BASELINE = "pytorch fp32"
CONTESTANTS = {
    "openvino fp32": ("openvino", "fp32"),
    "openvino bf16": ("openvino", "bf16"),
    "ort fp32": ("ort", "fp32"),
}
WANTED = {"openvino fp32": 1.5, "openvino bf16": 2.5}
"""Times faster than PyTorch that a denoiser call at half the channels should be."""


def main() -> None:
    """Measure each size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=[*WIDTHS, "all"], default="all", help="network widths")
    parser.add_argument("--pixels", type=int, default=128, help="side of the pictures")
    parser.add_argument("--window", type=int, default=4, help="frames of a window")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of denoiser calls")
    parser.add_argument("--render-rounds", type=int, default=3, help="rounds of whole renders")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where checkpoints and bundles are kept")
    arguments = parse_arguments(parser, name="runtime_vs_pytorch")
    sizes = WIDTHS if arguments.size == "all" else [arguments.size]
    results = {size: measure_size(size, arguments) for size in sizes}
    write_results(arguments.output, {"baseline": BASELINE, "wanted_times_faster_at_half": WANTED, "sizes": results})


def measure_size(size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Denoiser calls, then whole renders, at one size."""
    checkpoint, folder = make_bundle(size, pixels=arguments.pixels, frames=arguments.window, folder=arguments.folder)
    with open_contestants(checkpoint, folder) as (bundles, missing):
        calls = measure_calls(bundles, size=size, rounds=arguments.rounds)
        renders = measure_renders(bundles, size=size, rounds=arguments.render_rounds)
    return {
        "network_widths": {"unet": WIDTHS[size][0], "vae": WIDTHS[size][1]},
        "pixels": arguments.pixels,
        "window_frames": arguments.window,
        "not_measured": missing,
        "denoiser_call": calls,
        "render": renders,
    }


@contextmanager
def open_contestants(checkpoint: Path, folder: Path) -> Iterator[tuple[dict[str, Bundle], dict[str, str]]]:
    """A bundle per contestant, PyTorch first; and why those that cannot run here cannot."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        torch_backend = TorchBackend(open_checkpoint(checkpoint, "acc"))
        torch_bundle = Bundle(folder, read_manifest(folder), backend=torch_backend, options=EngineOptions())
        bundles = {BASELINE: stack.enter_context(torch_bundle)}
        for label, (backend, compute) in CONTESTANTS.items():
            reason = load_backend(backend).unavailable()
            try:
                if reason is None:
                    options = EngineOptions(compute=compute)
                    bundle = stack.enter_context(open_bundle(folder, backend=backend, options=options))
                    bundle.network("denoising_unet")
                    bundles[label] = bundle
            except EchoExportError as error:
                reason = str(error)
            if reason is not None:
                missing[label] = reason
                sys.stdout.write(f"  {label}: not measured: {reason}\n")
        yield bundles, missing


def measure_calls(bundles: dict[str, Bundle], *, size: str, rounds: int) -> dict[str, Any]:
    """One denoiser call on the self-test's inputs; PyTorch gets banks where the others get keys and values."""
    inputs = read_self_test_inputs(bundles[BASELINE], "denoising_unet")
    latents = read_self_test_inputs(bundles[BASELINE], "reference_unet")
    banks = bundles[BASELINE].network("reference_unet")(latents)
    given = {label: {**inputs, **banks} if label == BASELINE else inputs for label in bundles}
    networks = {label: bundle.network("denoising_unet") for label, bundle in bundles.items()}
    outputs = {label: network(given[label]) for label, network in networks.items()}
    calls = {label: lambda label=label: networks[label](given[label]) for label in bundles}
    conditions = {label: describe_network_conditions(bundle, "denoising_unet") for label, bundle in bundles.items()}
    comparison = compare_side_by_side(calls, warmup=2, repeats=rounds, conditions=conditions)
    sys.stdout.write(f"{size}: one denoiser call\n")
    show(comparison)
    differences = {label: compare_outputs(output, outputs[BASELINE]) for label, output in outputs.items()}
    return add_differences(comparison, differences)


def measure_renders(bundles: dict[str, Bundle], *, size: str, rounds: int) -> dict[str, Any]:
    """A whole clip, reference to decoded frames: two windows' length, four steps, nothing cached."""
    manifest = bundles[BASELINE].manifest
    inputs = draw_inputs(manifest.picture.width, manifest.picture.height)
    settings = RenderSettings(frames=2 * manifest.window.frames, steps=4, overlap=1)
    latents: dict[str, dict[str, np.ndarray]] = {}

    def render(label: str) -> None:
        rendering = Session(bundles[label]).render(inputs, settings)
        frames = np.stack(list(rendering))
        latents[label] = {"latents": rendering.latents, "frames": frames}

    calls = {label: lambda label=label: render(label) for label in bundles}
    conditions = {label: describe_network_conditions(bundle, "denoising_unet") for label, bundle in bundles.items()}
    comparison = compare_side_by_side(calls, warmup=1, repeats=rounds, conditions=conditions)
    sys.stdout.write(f"{size}: a render of {settings.frames} frames, {settings.steps} steps\n")
    show(comparison)
    differences = {label: compare_outputs(found, latents[BASELINE]) for label, found in latents.items()}
    plan = {"frames": settings.frames, "steps": settings.steps, "window_overlap": settings.overlap}
    return {**plan, "contestants": add_differences(comparison, differences)}


def draw_inputs(width: int, height: int) -> RenderInputs:
    """A seeded picture, a mask in its middle, and a second of a voice-like sound."""
    draw = np.random.default_rng(3)
    picture = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    seconds = np.arange(16_000) / 16_000
    sound = np.sin(2 * np.pi * 140 * seconds) * np.sin(2 * np.pi * 3 * seconds) * 0.4
    return RenderInputs(picture, voice_from_samples(sound.astype(np.float32)), mask=mask)


def add_differences(comparison: Comparison, differences: dict[str, float]) -> dict[str, Any]:
    """The timings, and how far each contestant's output is from PyTorch's, relative to its largest value."""
    return {
        label: {**entry, "difference": float(f"{differences[label]:.2g}")}
        for label, entry in summarize(comparison).items()
    }


if __name__ == "__main__":
    main()
