"""All that only a GPU can prove, in one run of under 8 minutes.

Marked tests, parity of all networks, the benchmark.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.measuring.latency import format_json
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.device import detect_device
from echoexport.runtime.errors import EchoExportError

SCHEMA = 1
TESTS = Path(__file__).parent.parent
BENCHMARK = TESTS / "benchmarks" / "bench_denoiser_gpu.py"
BACKENDS = {
    "cuda": ("ort_cuda", "ort_tensorrt", "tensorrt", "tensorrt_rtx"),
    "cpu": ("ort", "openvino"),
}
PRECISIONS = ("fp32", "fp16")
_SPARE = 20  # seconds that the benchmark has for what it cannot stop
TRIAL = (
    "--size",
    "tiny",
    "--pixels",
    "64",
    "--frames",
    "2",
    "--precision",
    "fp32",
    "--rounds",
    "3",
    "--warmup",
    "1",
)
"""What the benchmark is told where a CPU tries it out."""


@dataclass(frozen=True)
class Outcome:
    """How a step went. state: "passed", "failed", "skipped"; reason: why not passed; details.

    What it measured.
    """

    state: str
    reason: str = ""
    seconds: float = 0.0
    details: Any = field(default=None)


@dataclass(frozen=True)
class Step:
    """A name, the most seconds it may take, and what to run with what is left of them."""

    name: str
    limit: float
    run: Callable[[float], Outcome]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every step that has time left, write the results after each; 1 where one failed."""
    options = make_parser().parse_args(arguments)
    if options.parity is not None:
        sys.stdout.write(
            json.dumps(measure_parity(options.parity, BACKENDS[options.device])) + "\n"
        )
        return 0
    with tempfile.TemporaryDirectory(prefix="echoexport-gpu-") as folder:
        steps = plan_steps(options, Path(folder))
        if options.dry_run:
            sys.stdout.write(format_json(describe_plan(options, steps)))
            return 0
        outcomes = run_steps(
            steps,
            budget=options.budget,
            trouble=find_trouble(options.device),
            keep=lambda found: write_results(
                options.output, found, budget=options.budget, device=options.device
            ),
        )
    return 1 if any(outcome.state == "failed" for outcome in outcomes.values()) else 0


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("gpu-results.json"), help="results (JSON)"
    )
    parser.add_argument("--budget", type=float, default=470.0, help="seconds for everything")
    parser.add_argument(
        "--device", choices=BACKENDS, default="cuda", help="cpu only tries the script out"
    )
    parser.add_argument(
        "--step", action="append", choices=("tests", "parity", "benchmark"), help="only this step"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would run here, as JSON, and stop"
    )
    parser.add_argument(
        "--parity", type=Path, metavar="DIR", help="only the parity step, in this folder, to stdout"
    )
    return parser


def plan_steps(options: argparse.Namespace, folder: Path) -> list[Step]:
    """Each in a process of its own: a crash or a hang costs one step."""
    script = str(Path(__file__))
    junit = folder / "tests.xml"
    bench = folder / "benchmark.json"
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        f"--junitxml={junit}",
        str(TESTS),
    ]
    parity = [
        sys.executable,
        script,
        "--device",
        options.device,
        "--parity",
        str(folder / "parity"),
    ]
    benchmark = [sys.executable, str(BENCHMARK), "--device", options.device, "--output", str(bench)]
    benchmark += TRIAL if options.device == "cpu" else ()
    steps = [
        Step(
            "tests",
            150,
            lambda left: run_child(
                pytest, left, read=lambda _: read_junit(junit), cwd=TESTS.parent
            ),
        ),
        Step("parity", 120, lambda left: run_child(parity, left, read=read_parity)),
        Step(
            "benchmark",
            400,
            lambda left: run_child(
                [*benchmark, "--seconds", f"{max(1.0, left - _SPARE):.0f}"],
                left,
                read=lambda out: read_benchmark(bench, out),
            ),
        ),
    ]
    return [step for step in steps if not options.step or step.name in options.step]


def find_trouble(device: str) -> str | None:
    """Why nothing can be measured here, or None."""
    if device == "cpu" or detect_device().kind in ("gpu", "jetson"):
        return None
    return "this machine has no NVIDIA GPU that its driver tells of"


def describe_plan(options: argparse.Namespace, steps: Sequence[Step]) -> dict[str, Any]:
    """What would run here, and what would not and why."""
    return {
        "schema": SCHEMA,
        "device": options.device,
        "budget": options.budget,
        "trouble": find_trouble(options.device),
        "backends": {name: load_backend(name).unavailable() for name in BACKENDS[options.device]},
        "steps": {step.name: {"limit": step.limit} for step in steps},
    }


def run_steps(
    steps: Sequence[Step],
    *,
    budget: float,
    trouble: str | None,
    keep: Callable[[dict[str, Outcome]], None],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Outcome]:
    """Steps in order, each with the time that is left.

    ``keep`` is given all that there is after each.
    """
    outcomes: dict[str, Outcome] = {}
    begun = clock()
    for step in steps:
        left = min(step.limit, budget - (clock() - begun))
        start = clock()
        if trouble is not None:
            found = Outcome("skipped", trouble)
        elif left <= 0:
            found = Outcome("skipped", f"no time left of {budget:g} s")
        else:
            found = step.run(left)
        outcomes[step.name] = Outcome(
            found.state, found.reason, round(clock() - start, 1), found.details
        )
        sys.stderr.write(
            f"{step.name}: {found.state}{f': {found.reason}' if found.reason else ''}\n"
        )
        keep(outcomes)
    return outcomes


def run_child(
    command: Sequence[str],
    seconds: float,
    *,
    read: Callable[[str], Outcome],
    cwd: Path | None = None,
) -> Outcome:
    """Run a command; ``read`` makes an outcome of its output. A crash names its last line."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, cwd=cwd
        )
    except subprocess.TimeoutExpired:
        return Outcome("failed", f"took more than {seconds:.0f} s")
    try:
        return read(done.stdout)
    except (OSError, ValueError, KeyError, ElementTree.ParseError):  # it left nothing to read
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        return Outcome(
            "failed", f"exit code {done.returncode}{': ' * bool(lines)}{''.join(lines[-1:])[:300]}"
        )


def read_junit(path: Path) -> Outcome:
    """Counts, and the failed tests by name; reasons of those that were skipped."""
    suite = ElementTree.parse(path).getroot().find("testsuite")
    if suite is None:
        raise ValueError("no test suite")
    counts = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    cases = suite.findall("testcase")
    failed = [
        c.get("name", "")
        for c in cases
        if c.find("failure") is not None or c.find("error") is not None
    ]
    reasons = sorted(
        {skip.get("message", "") for case in cases for skip in case.findall("skipped")}
    )
    details = {**counts, "failed": failed, "reasons": reasons}
    if failed or not counts["tests"]:
        return Outcome(
            "failed",
            f"{len(failed)} tests failed" if failed else "no test was found",
            details=details,
        )
    if counts["skipped"] == counts["tests"]:
        return Outcome("skipped", "; ".join(reasons), details=details)
    return Outcome("passed", details=details)


def read_parity(output: str) -> Outcome:
    """The last line is the JSON of :func:`measure_parity`."""
    found = json.loads(output.strip().splitlines()[-1] if output.strip() else "")
    ran = {label: entry for label, entry in found.items() if "networks" in entry}
    bad = [
        f"{label} {name}"
        for label, entry in found.items()
        for name, result in entry.get("networks", {}).items()
        if not result["passed"]
    ] + [f"{label}: {entry['failed']}" for label, entry in found.items() if "failed" in entry]
    if bad:
        return Outcome("failed", "; ".join(bad)[:600], details=found)
    return Outcome(
        "passed" if ran else "skipped", "" if ran else "no backend works here", details=found
    )


def read_benchmark(path: Path, output: str) -> Outcome:
    """The results file; without one the benchmark said why in a line."""
    if not path.is_file():
        told = [line for line in output.splitlines() if line.startswith("not measured")]
        if told:
            return Outcome("skipped", told[-1])
        raise OSError("no results")
    found = json.loads(path.read_text(encoding="utf-8"))
    ratio = found["times_faster"]
    if ratio is None:
        return Outcome("skipped", "no engine of ours runs here", details=found)
    if found["device"] == "cuda" and ratio < found["wanted"]:
        return Outcome(
            "failed",
            f"{ratio} times PyTorch's quickest way; {found['wanted']} are wanted",
            details=found,
        )
    return Outcome("passed", details=found)


def measure_parity(folder: Path, backends: Sequence[str]) -> dict[str, Any]:
    """The built-in character's six networks, in fp32 and fp16, on each backend.

    Errors of their self-tests.
    """
    from echoexport.export.build.bundle import build_bundle
    from echoexport.export.build.settings import BuildSettings
    from echoexport.export.demo.assets import CHARACTER_SIZE, builtin_checkpoint
    from echoexport.targets.spec import load_target

    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        bundle = folder / precision
        settings = BuildSettings(size=CHARACTER_SIZE, precision=precision, check="none")
        build_bundle(builtin_checkpoint(), bundle, target=load_target("a100"), settings=settings)
        for backend in backends:
            found[f"{backend} {precision}"] = check_bundle(
                bundle, backend, engines=folder / f"{precision}-{backend}"
            )
    return found


def check_bundle(bundle: Path, backend: str, *, engines: Path) -> dict[str, Any]:
    """Self-tests of every network on one backend.

    TensorRT's engines are compiled first, into ``engines``.
    """
    chosen = load_backend(backend)
    if (reason := chosen.unavailable()) is not None:
        return {"skipped": reason}
    start = time.perf_counter()
    try:
        if backend.startswith("tensorrt") and chosen is not None:
            from echoexport.export.compile.bundle import CompileSettings, compile_bundle

            settings = CompileSettings(backend, cache=engines.with_name(f"{engines.name}-cache"))
            compile_bundle(
                bundle, engines, settings=settings, report=lambda *_: None, warn=lambda _: None
            )
            bundle = engines
        with open_bundle(bundle, backend=backend) as opened:
            results = {name: opened.self_test(name) for name in opened.manifest.networks}
            described = opened.backend.describe()
    except EchoExportError as error:
        return {"failed": str(error)}
    seconds = round(time.perf_counter() - start, 1)
    networks = {
        name: {
            "precision": r.precision,
            "error": float(f"{r.error:.2g}"),
            "tolerance": r.tolerance,
            "passed": r.passed,
        }
        for name, r in results.items()
    }
    return {"backend": described, "seconds": seconds, "networks": networks}


def write_results(path: Path, outcomes: dict[str, Outcome], *, budget: float, device: str) -> None:
    """Everything so far with this machine's conditions, aside and renamed."""
    machine = detect_device()
    gpu = {
        "name": machine.gpu,
        "driver": machine.driver,
        "compute_capability": machine.compute_capability,
    }
    results = {
        "schema": SCHEMA,
        "conditions": dump(asdict(describe_circumstances())),
        "device": device,
        "gpu": gpu if machine.kind != "cpu" else None,
        "budget": budget,
        "seconds": round(sum(outcome.seconds for outcome in outcomes.values()), 1),
        "steps": {name: asdict(outcome) for name, outcome in outcomes.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.part")
    aside.write_text(format_json(results), encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
