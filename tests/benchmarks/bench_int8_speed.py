"""int8 against fp32 at half the channels.

One denoiser call in OpenVINO and in PyTorch eager, in turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from original_way import TorchBackend
from random_bundle import WIDTHS, default_folder, make_bundle
from results_file import parse_arguments, show, summarize, write_results

from echoexport.calibration.choosing.policy import load_policy, plan_layers
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.quantize import QuantizedFiles, quantize_network
from echoexport.calibration.observing.ranges import RangeSettings, collect_ranges
from echoexport.calibration.sample import Sample
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.profiles.measuring.circumstances import describe_machine
from echoexport.profiles.measuring.clip_run import find_peak_memory
from echoexport.profiles.measuring.latency import compare_side_by_side, read_self_test_inputs
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Engine, EngineOptions
from echoexport.runtime.errors import EchoExportError

NETWORK = "denoising_unet"
TORCH = "pytorch fp32"
CONTESTANTS = {
    "openvino fp32": ("openvino", "float", "fp32"),
    "openvino bf16": ("openvino", "float", "bf16"),
    "openvino int8": ("openvino", "int8", "fp32"),
    "openvino int8+bf16": ("openvino", "int8", "bf16"),
    "ort fp32": ("ort", "float", "fp32"),
    "ort int8": ("ort", "int8", "fp32"),
}
WANTED = {"openvino int8 against openvino fp32": 2.0, "openvino int8 against pytorch fp32": 4.0}


def main() -> None:
    """Quantize, measure in rounds, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", type=int, default=128, help="side of the pictures")
    parser.add_argument("--window", type=int, default=4, help="frames of a window")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of denoiser calls")
    parser.add_argument(
        "--samples", type=int, default=3, help="random inputs that ranges are found on"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=default_folder(),
        help="where checkpoints and bundles are kept",
    )
    parser.add_argument(
        "--quantize-only",
        type=Path,
        metavar="GRAPH",
        help="write one fp32 graph as int8; no timing",
    )
    arguments = parse_arguments(parser, name="int8_speed")
    if arguments.quantize_only:
        sys.stdout.write(f"{quantize_alone(arguments.quantize_only)}\n")
        return
    checkpoint, folder = make_bundle(
        "half", pixels=arguments.pixels, frames=arguments.window, folder=arguments.folder
    )
    torch_backend = TorchBackend(open_checkpoint(checkpoint, "acc"))
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = Bundle(
            folder, read_manifest(folder), backend=torch_backend, options=EngineOptions()
        )
        found = measure(stack.enter_context(bundle), place, arguments)
    common = {
        "network_widths": WIDTHS["half"][0],
        "pixels": arguments.pixels,
        "window_frames": arguments.window,
    }
    write_results(arguments.output, {**common, "wanted_times_faster": WANTED, **found})


def measure(bundle: Bundle, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every contestant's call in turns, and what int8 costs the output."""
    spec = bundle.manifest.networks[NETWORK].describe(NETWORK)
    inputs = read_self_test_inputs(bundle, NETWORK)
    banks = bundle.network("reference_unet")(read_self_test_inputs(bundle, "reference_unet"))
    graph = FloatGraph(bundle.folder / f"{NETWORK}.onnx")
    path = place / f"{NETWORK}.onnx"
    files, seconds = quantize(graph, path, [inputs, *draw_inputs(inputs, arguments.samples - 1)])
    load = describe_machine().load
    with ExitStack() as stack:
        engines: dict[str, Any] = {TORCH: partial(bundle.network(NETWORK), {**inputs, **banks})}
        opened, missing = open_engines({"float": graph.path, "int8": path}, spec)
        for label, engine in opened.items():
            stack.callback(engine.close)
            engines[label] = partial(engine, inputs)
        wanted = engines[TORCH]()["velocity"]
        snr = {
            label: measure_snr(call()["velocity"], wanted)
            for label, call in engines.items()
            if label != TORCH
        }
        comparison = compare_side_by_side(engines, warmup=1, repeats=arguments.rounds)
        show(comparison)
    times = {label: report.p50 for label, report in comparison.reports.items()}
    contestants = summarize(comparison)
    for label, value in snr.items():
        contestants[label] |= {
            "backend": CONTESTANTS[label][0],
            "compute": CONTESTANTS[label][2],
            "snr_db": value,
        }
    faster = {pair: divide(times, pair) for pair in WANTED}
    sys.stdout.write(
        "".join(f"  {pair}: {ratio} x, {WANTED[pair]} wanted\n" for pair, ratio in faster.items())
    )
    return {
        "load_before": load,
        "load_after": describe_machine().load,
        "not_measured": missing,
        "times_faster": faster,
        "contestants": contestants,
        "quantized": {**describe_files(files, graph), **seconds},
        "operations": count_operations(path),
    }


def quantize(
    graph: FloatGraph, path: Path, inputs: list[dict[str, np.ndarray]]
) -> tuple[QuantizedFiles, Any]:
    """By the policy of a CPU; and how long ranges and writing took."""
    samples = [Sample(NETWORK, arrays, "random", "random") for arrays in inputs]
    start = time.perf_counter()
    ranges = collect_ranges(graph, lambda: samples, settings=RangeSettings())
    found = time.perf_counter()
    files = quantize_network(
        graph, plan_layers(graph, load_policy("cpu", family=FAMILY), ranges.amax), path
    )
    seconds = {"ranges_seconds": found - start, "writing_seconds": time.perf_counter() - found}
    return files, {
        "samples": len(samples),
        **{key: round(value, 1) for key, value in seconds.items()},
    }


def quantize_alone(graph: Path) -> dict[str, Any]:
    """What the writer itself takes of time and memory, at any size.

    Every range is 1, nothing is run.
    """
    float_graph = FloatGraph(graph)
    before = measure_peak()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        plan = plan_layers(float_graph, load_policy("cpu", family=FAMILY), lambda value: 1.0)
        files = quantize_network(float_graph, plan, Path(place) / graph.name)
    seconds = round(time.perf_counter() - start, 1)
    return {
        **describe_files(files, float_graph),
        "seconds": seconds,
        "peak_before": before,
        "peak": measure_peak(),
    }


def measure_peak() -> int:
    """Bytes that this process held at its most, files that it mapped among them."""
    return find_peak_memory() or 0


def describe_files(files: QuantizedFiles, graph: FloatGraph) -> dict[str, Any]:
    """Sizes."""
    float_bytes = sum(path.stat().st_size for path in (graph.path, graph.path.with_suffix(".bin")))
    shares = {
        "size_of_fp32": round(files.bytes / float_bytes, 3),
        "int8_share": round(files.int8_share, 4),
    }
    return {"bytes": files.bytes, **shares}


def draw_inputs(like: Mapping[str, np.ndarray], count: int) -> Iterator[dict[str, np.ndarray]]:
    """Seeded noise with the mean and spread of each input."""
    draw = np.random.default_rng(11)
    for _ in range(count):
        yield {
            name: (draw.normal(size=array.shape) * array.std() + array.mean()).astype(np.float32)
            for name, array in like.items()
        }


def open_engines(
    graphs: Mapping[str, Path], spec: SubnetSpec
) -> tuple[dict[str, Engine], dict[str, str]]:
    """Those of the contestants that run here, and why the others do not."""
    opened: dict[str, Engine] = {}
    missing: dict[str, str] = {}
    for label, (name, graph, compute) in CONTESTANTS.items():
        try:
            opened[label] = load_backend(name).open(
                graphs[graph], spec, EngineOptions(compute=compute)
            )
        except EchoExportError as error:
            missing[label] = str(error)
    return opened, missing


def measure_snr(found: Arrays | np.ndarray, wanted: np.ndarray) -> float:
    """dB of PyTorch's output over the difference from it."""
    error = np.square(np.asarray(found, np.float64) - wanted).sum()
    return round(float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / error)), 1)


def divide(times: Mapping[str, float], pair: str) -> float:
    """How many times faster "A against B" is."""
    fast, slow = pair.split(" against ")
    return round(times[slow] / times[fast], 2)


def count_operations(path: Path) -> dict[str, int]:
    """What OpenVINO runs the int8 file's layers in.

    Convolutions and linears by the type that they read.
    """
    from echoexport.runtime.backends.openvino import load_openvino

    core = load_openvino().Core()
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found: Counter[str] = Counter()
    for operation in compiled.get_runtime_model().get_ordered_ops():
        about = operation.get_rt_info()
        kind, precision = (_text(about[key]) for key in ("layerType", "runtimePrecision"))
        if kind in ("Convolution", "FullyConnected", "MatMul"):
            found[f"{kind} {precision}"] += 1
    return dict(sorted(found.items()))


def _text(value: Any) -> str:
    return str(value.astype(str) if hasattr(value, "astype") else value)


if __name__ == "__main__":
    main()
