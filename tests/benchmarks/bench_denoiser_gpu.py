"""One denoiser call on a GPU.

Our engines against PyTorch eager in its quickest way, in turns, in one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gpu_contestants import (
    SIZES,
    WAYS,
    Call,
    Denoiser,
    TorchDenoiser,
    load_modules,
    make_denoiser,
    open_engine,
)
from random_bundle import default_folder
from results_file import parse_arguments, show, summarize, write_results

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.measuring.latency import compare_side_by_side
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.network import compare_outputs
from echoexport.runtime.device import detect_device
from echoexport.runtime.errors import EchoExportError

WANTED = 1.5
"""Times faster than PyTorch's quickest way that our quickest engine should be."""

MEASURING = 0.2
"""The share of the seconds that is kept for measuring."""

ENGINES = {
    "cuda": (
        "ort_cuda",
        "ort_cuda plain",
        "tensorrt",
        "tensorrt_rtx",
        "ort_tensorrt",
    ),  # those that build are last
    "cpu": ("ort", "openvino"),
}


def main() -> None:
    """Measure what there is here, and write the results; without a GPU say so and write nothing."""
    arguments = parse_arguments(make_parser(), name="denoiser_gpu")
    if arguments.dry_run:
        sys.stdout.write(json.dumps(describe_plan(arguments), indent=1) + "\n")
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.stdout.write("not measured: this PyTorch sees no NVIDIA GPU\n")
        return
    torch.backends.cudnn.benchmark = True  # the baseline may look for its quickest kernels too
    folder = arguments.folder / "-".join(
        map(
            str,
            ("denoiser", arguments.size, arguments.pixels, arguments.frames, arguments.precision),
        )
    )
    denoiser = make_denoiser(
        folder,
        size=arguments.size,
        pixels=arguments.pixels,
        frames=arguments.frames,
        precision=arguments.precision,
    )
    write_results(arguments.output, measure(denoiser, arguments))


def make_parser() -> argparse.ArgumentParser:
    """The arguments; their defaults are the figure that counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full", help="network widths")
    parser.add_argument("--pixels", type=int, default=512, help="side of the pictures")
    parser.add_argument("--frames", type=int, default=12, help="frames of the window")
    parser.add_argument(
        "--precision", choices=("fp16", "fp32"), default="fp16", help="of weights and tensors"
    )
    parser.add_argument(
        "--device", choices=ENGINES, default="cuda", help="cpu only tries the benchmark out"
    )
    parser.add_argument(
        "--engine", action="append", metavar="NAME", help="only this engine; may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds that count")
    parser.add_argument("--warmup", type=int, default=3, help="rounds before them")
    parser.add_argument(
        "--seconds", type=float, default=3600.0, help="no engine is begun after so many"
    )
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where graphs and engines are kept"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be measured, as JSON, and stop"
    )
    return parser


def describe_plan(arguments: argparse.Namespace) -> dict[str, Any]:
    """What would be measured here, and what would not and why; nothing is built."""
    engines = {
        name: load_backend(name.split()[0]).unavailable() for name in choose_engines(arguments)
    }
    gpu = arguments.device == "cuda" and torch.cuda.is_available()
    trouble = None if gpu or arguments.device == "cpu" else "this PyTorch sees no NVIDIA GPU"
    return {
        **describe_work(arguments),
        "baselines": dict.fromkeys(choose_ways(arguments.device), trouble),
        "engines": engines,
    }


def describe_work(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every contestant computes."""
    return {
        "network": "denoising_unet",
        "widths": list(SIZES[arguments.size]),
        "pixels": arguments.pixels,
        "frames": arguments.frames,
        "precision": arguments.precision,
        "device": arguments.device,
        "warmup": arguments.warmup,
        "rounds": arguments.rounds,
    }


def choose_engines(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Those that are asked for, else all that could run on the device."""
    return tuple(arguments.engine or ENGINES[arguments.device])


def choose_ways(device: str) -> tuple[str, ...]:
    """PyTorch's ways; a CPU has no CUDA graphs."""
    return tuple(label for label, (_, recorded) in WAYS.items() if device == "cuda" or not recorded)


def measure(denoiser: Denoiser, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every contestant's call in turns, its distance from eager PyTorch, and the ratio."""
    missing: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    with ExitStack() as stack:
        calls = open_contestants(denoiser, arguments, stack=stack, missing=missing, notes=notes)
        outputs = {label: call() for label, call in calls.items()}
        conditions = {
            label: replace(
                describe_circumstances(),
                backend=describe_contestant(label),
                compute=arguments.precision,
                precision=arguments.precision,
                shapes={tensor.name: tensor.shape for tensor in denoiser.spec.inputs[:5]},
            )
            for label in calls
        }
        comparison = compare_side_by_side(
            calls, warmup=arguments.warmup, repeats=arguments.rounds, conditions=conditions
        )
    show(comparison)
    baseline = outputs[comparison.baseline]
    contestants = {
        label: {**entry, "difference": float(f"{compare_outputs(outputs[label], baseline):.2g}")}
        for label, entry in summarize(comparison).items()
    }
    return {
        "schema": 1,
        **describe_work(arguments),
        "gpu": describe_gpu(),
        "contestants": contestants,
        "not_measured": missing,
        "notes": notes,
        **judge(contestants),
    }


def open_contestants(
    denoiser: Denoiser,
    arguments: argparse.Namespace,
    *,
    stack: ExitStack,
    missing: dict[str, str],
    notes: dict[str, list[str]],
) -> dict[str, Call]:
    """A call each, PyTorch's first; why those that cannot run here cannot goes to ``missing``."""
    begun = time.perf_counter()
    calls = dict[str, Call]()
    modules = load_modules(denoiser, device=arguments.device)
    for label in choose_ways(arguments.device):
        channels_last, recorded = WAYS[label]
        try:
            calls[label] = TorchDenoiser(
                denoiser, modules[channels_last], recorded=recorded, device=arguments.device
            )
        except RuntimeError as error:  # torch's own, out of memory among them
            missing[label] = " ".join(str(error).split())[:300]
    for label in choose_engines(arguments):
        left = arguments.seconds * (1 - MEASURING) - (time.perf_counter() - begun)
        if left <= 0:
            missing[label] = f"no time left of {arguments.seconds:g} s"
            continue
        try:
            network = open_engine(
                denoiser, label, timeout=left, say=lambda text: sys.stdout.write(f"  {text}\n")
            )
        except EchoExportError as error:
            missing[label] = str(error)
            sys.stdout.write(f"  {label}: not measured: {error}\n")
            continue
        stack.callback(network.close)
        calls[label] = lambda network=network: network(denoiser.inputs)  # type: ignore[misc]
        notes[label] = list(network.notes)
    return calls


def describe_contestant(label: str) -> str:
    """Its label, and the library's own line on itself."""
    if label in WAYS:
        return f"{label}: torch {torch.__version__}, scaled_dot_product_attention"
    return f"{label}: {load_backend(label.split(maxsplit=1)[0]).describe()}"


def judge(contestants: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Our quickest engine against PyTorch's quickest way, by medians."""
    theirs = {label: entry["p50"] for label, entry in contestants.items() if label in WAYS}
    ours = {label: entry["p50"] for label, entry in contestants.items() if label not in WAYS}
    if not theirs or not ours:
        return {"wanted": WANTED, "best_baseline": None, "best_engine": None, "times_faster": None}
    baseline = min(theirs, key=theirs.__getitem__)
    engine = min(ours, key=ours.__getitem__)
    ratio = round(theirs[baseline] / ours[engine], 2) if ours[engine] else None
    return {
        "wanted": WANTED,
        "best_baseline": baseline,
        "best_engine": engine,
        "times_faster": ratio,
    }


def describe_gpu() -> dict[str, Any]:
    """Name, driver, capability and power limit, as far as the machine tells."""
    device = detect_device()
    return {
        "name": device.gpu,
        "driver": device.driver,
        "compute_capability": device.compute_capability,
        "memory": device.memory if device.kind != "cpu" else None,
        "power_limit": device.power_limit,
        "power_mode": device.power_mode,
        "cuda_of_pytorch": torch.version.cuda,
    }


if __name__ == "__main__":
    main()
