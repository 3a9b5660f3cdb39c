"""Ways to find the ranges of int8 activations, against each other.

What each leaves of the denoiser's velocity.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from results_file import parse_arguments, write_results

from echoexport.calibration.choosing.policy import load_policy, plan_layers
from echoexport.calibration.choosing.sensitivity import relative_error
from echoexport.calibration.choosing.smoothing import find_smoothing, fold_smoothing
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.quantize import quantize_network
from echoexport.calibration.observing.ranges import (
    COMBINATIONS,
    ActivationRanges,
    RangeSettings,
    collect_ranges,
)
from echoexport.calibration.plan import LayerPlan, NetworkPlan, Smoothing
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.calibration.sample import Sample
from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions

NETWORK = "denoising_unet"
METHODS = {
    "minmax": RangeSettings("minmax"),
    "percentile 99.99": RangeSettings("percentile", percentile=99.99),
    "percentile 99.999": RangeSettings("percentile", percentile=99.999),
    "entropy": RangeSettings("entropy"),
    "mse": RangeSettings("mse"),
}
POLICY = "cpu"


@dataclass(frozen=True)
class Bench:
    """The float network, its engine, held-out samples and the velocities wanted of them."""

    graph: FloatGraph
    spec: SubnetSpec
    backend: str
    samples: Sequence[Sample]
    wanted: Sequence[np.ndarray]
    folder: Path

    def measure(self, plan: NetworkPlan) -> float:
        """SNR in dB of the velocity under a plan.

        Energy of the error over all held-out samples' mean.
        """
        folded = fold_smoothing(self.graph, plan.smoothing)
        path = self.folder / f"{NETWORK}.onnx"
        quantize_network(self.graph, plan, path, weight_edits=folded.weight_edits)
        return -10 * float(
            np.log10(
                relative_error(
                    run(path, self.spec, self.samples, backend=self.backend), self.wanted
                )
            )
        )


def main() -> None:
    """Measure every method, combination and smoothing, show the table and write it."""
    arguments = read_arguments()
    graph = FloatGraph(arguments.bundle / f"{NETWORK}.onnx")
    spec = read_manifest(arguments.bundle).networks[NETWORK].describe(NETWORK)
    calibration = open_set(arguments.set)
    held_out = open_set(arguments.held_out)
    samples = choose_probes(list(held_out.samples(NETWORK)), most=arguments.probes)
    with tempfile.TemporaryDirectory() as folder:
        wanted = run(graph.path, spec, samples, backend=arguments.backend)
        bench = Bench(graph, spec, arguments.backend, samples, wanted, Path(folder))
        floor = bench.measure(make_floor(graph))
        rows = list(measure_all(bench, calibration))
    plain = next(
        row["snr_db"]
        for row in rows
        if (row["method"], row["combine"], row["smooth"]) == ("minmax", "max", False)
    )
    for row in rows:
        row["over_minmax_db"] = round(float(row["snr_db"]) - float(plain), 2)
    best = max(rows, key=lambda row: float(row["snr_db"]))
    sys.stdout.write(
        f"weights alone in int8: {floor:.2f} dB: this error no range takes away\nbest: {best}\n"
    )
    about = {
        "calibrated_on": calibration.count(NETWORK),
        "judged_on": len(samples),
        "policy": POLICY,
    }
    engine = load_backend(arguments.backend).describe()
    write_results(
        arguments.output,
        {
            **about,
            "engine": engine,
            "weights_alone_db": round(floor, 2),
            "best": best,
            "table": rows,
        },
    )


def read_arguments() -> argparse.Namespace:
    """What is measured, on which set, judged by which other set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bundle", type=Path, required=True, help="an fp32 bundle of the demo's checkpoint"
    )
    parser.add_argument(
        "--set",
        type=Path,
        required=True,
        help="calibration set (echoexport calibrate) of the bundle",
    )
    parser.add_argument(
        "--held-out", type=Path, required=True, help="another set, of another seed, to judge by"
    )
    parser.add_argument("--backend", default="ort", help="engine that runs int8")
    parser.add_argument("--probes", type=int, default=12, help="held-out samples at most")
    return parse_arguments(parser, name="calibration_methods")


def measure_all(bench: Bench, calibration: CalibrationSet) -> Iterator[dict[str, object]]:
    """A row for each way."""

    def walk() -> Iterator[Sample]:
        return calibration.samples(NETWORK)

    maxima = collect_ranges(bench.graph, walk, settings=RangeSettings())
    searched = find_smoothing(bench.graph, maxima, samples=walk)
    for smoothing in ({}, searched):
        for method, settings in METHODS.items():
            ranges = collect_ranges(
                bench.graph, walk, settings=settings, maxima=maxima, smoothing=smoothing
            )
            for combine in COMBINATIONS:
                snr = bench.measure(make_plan(bench.graph, ranges.combined(combine), smoothing))
                row = {
                    "method": method,
                    "combine": combine,
                    "smooth": bool(smoothing),
                    "snr_db": round(snr, 2),
                }
                sys.stdout.write(
                    f"{method:<18} {combine:<10} {'smoothed' if smoothing else '':<9} "
                    f"{snr:6.2f} dB\n"
                )
                sys.stdout.flush()
                yield row


def make_plan(
    graph: FloatGraph, ranges: ActivationRanges, smoothing: dict[str, Smoothing]
) -> NetworkPlan:
    """The policy's layers in int8."""
    return replace(
        plan_layers(graph, load_policy(POLICY, family=FAMILY), ranges.amax), smoothing=smoothing
    )


def make_floor(graph: FloatGraph) -> NetworkPlan:
    """All weights in int8, all activations float.

    The error that no way to find ranges takes away.
    """
    plan = plan_layers(graph, load_policy(POLICY, family=FAMILY), lambda value: 1.0)
    return replace(plan, layers={name: LayerPlan("weights") for name in plan.layers})


def choose_probes(samples: list[Sample], *, most: int) -> list[Sample]:
    """Evenly from all, in order of their steps."""
    ordered = sorted(
        samples, key=lambda sample: (sample.step or 0, sample.portrait, sample.window or 0)
    )
    return [
        ordered[index]
        for index in np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(int)
    ]


def run(
    path: Path, spec: SubnetSpec, samples: Sequence[Sample], *, backend: str
) -> list[np.ndarray]:
    """The velocity of each sample."""
    engine = load_backend(backend).open(path, spec, EngineOptions())
    try:
        return [np.asarray(engine(sample.inputs)["velocity"], np.float32) for sample in samples]
    finally:
        engine.close()


if __name__ == "__main__":
    main()
