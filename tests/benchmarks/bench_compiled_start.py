"""Start of the demo bundle.

All networks opened in a fresh process, portable, with a warm cache, and compiled; and the
first frame of a fresh ``echoexport run``, everything cached, against an older checkout's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results_file import parse_arguments, write_results

from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.compile.bundle import CompileSettings, compile_bundle
from echoexport.export.demo.assets import (
    CHARACTER_SIZE,
    CHARACTER_VARIANT,
    builtin_checkpoint,
    builtin_portrait,
    builtin_voice,
)
from echoexport.runtime.backends import load_backend
from echoexport.runtime.files.cache_folders import find_cache_folder
from echoexport.targets.spec import load_target

WANTED_SECONDS = 3.0
"""That loading the compiled demo should take at most, from the start of the process, on
a CPU backend."""

BACKENDS = ("openvino", "ort")

# load: from before the first import of ours until every network is open. process: the
# same, with Python's own start. cpu: processor time of the whole process, which other
# load on the machine hardly moves.
CHILD = """
import json, sys, time
start = time.perf_counter()
from pathlib import Path
from echoexport.profiles.measuring.clip_run import find_peak_memory, find_process_age
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.engine.protocol import EngineOptions
folder, backend, cache = sys.argv[1:4]
options = EngineOptions(cache=Path(cache) if cache else None, lanes=0)
with open_bundle(folder, backend=backend, options=options) as bundle:
    for name in bundle.manifest.networks:
        bundle.network(name)
    times = {
        "load": time.perf_counter() - start,
        "process": find_process_age(),
        "cpu": time.process_time(),
    }
    print(json.dumps({**times, "peak": find_peak_memory()}))
"""

COMMAND = "from echoexport.export.cli import main; main()"


def main() -> None:
    """Build the demo, compile it for each CPU backend, and measure the starts in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--bundle", type=Path, help="a portable bundle to measure in place of the demo's"
    )
    parser.add_argument(
        "--before",
        nargs=2,
        type=Path,
        metavar=("PATH", "BUNDLE"),
        help="a folder for PYTHONPATH with an older echoexport, and a bundle that it built: its "
        "first frames are measured in turns with ours",
    )
    arguments = parse_arguments(parser, name="compiled_start")
    backends = [name for name in BACKENDS if load_backend(name).unavailable() is None]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bundle = arguments.bundle or _build(folder / "bundle")
        cases, sizes = compile_cases(bundle, backends, folder)
        runs: dict[str, list[dict[str, float]]] = {label: [] for label in cases}
        for turn in range(arguments.repeats + 1):
            for label, case in cases.items():
                run = _start(*case)
                if turn:  # the first fills the caches, of files and of OpenVINO
                    runs[label].append(run)
        first_frames = measure_first_frames(
            {"now": (None, bundle), **({"before": arguments.before} if arguments.before else {})},
            backends,
            repeats=arguments.repeats,
            cache=folder,
        )
    medians = {label: _summarize(found) for label, found in runs.items()}
    show_medians(medians, first_frames)
    about = {
        "what": "open_bundle and every network opened, in a fresh process",
        "origin": "measured",
        "repeats": arguments.repeats,
        "wanted_seconds": WANTED_SECONDS,
    }
    write_results(
        arguments.output,
        {**about, "engines": sizes, "medians": medians, "first_frames": first_frames, "runs": runs},
    )


def compile_cases(
    bundle: Path, backends: list[str], folder: Path
) -> tuple[dict[str, tuple[Path, str, str]], dict[str, Any]]:
    """Bundle, backend and cache of each start, and what compiling took; into ``folder``."""
    cases: dict[str, tuple[Path, str, str]] = {}
    sizes: dict[str, Any] = {}
    for name in backends:
        compiled = folder / f"compiled-{name}"
        settings = CompileSettings(backend=name, cache=folder / "engines")
        report = compile_bundle(
            bundle, compiled, settings=settings, report=lambda *_: None, warn=print
        )
        engines = report.engines.values()
        sizes[name] = {
            "compile_seconds": round(sum(each.record.seconds for each in engines), 2),
            "bytes": sum(file.bytes for each in engines for file in each.record.files.values()),
        }
        cases[f"{name}, portable"] = (bundle, name, "")
        if name == "openvino":
            cases[f"{name}, portable, its cache warm"] = (bundle, name, str(folder / "cache"))
        cases[f"{name}, compiled"] = (compiled, name, "")
    return cases, sizes


def show_medians(
    medians: dict[str, dict[str, float]], first_frames: dict[str, dict[str, float]]
) -> None:
    """A line for each."""
    for label, found in medians.items():
        sys.stdout.write(
            f"  {label:<34} load {found['load']:6.3f} s   processor {found['cpu']:6.3f} s\n"
        )
    for label, found in first_frames.items():
        sys.stdout.write(
            f"  first frame, {label:<21} wall {found['wall']:6.3f} s   "
            f"processor {found['cpu']:6.3f} s\n"
        )


def measure_first_frames(
    checkouts: dict[str, Any], backends: list[str], *, repeats: int, cache: Path
) -> dict[str, dict[str, float]]:
    """Medians over turns; ``checkouts`` are a folder for PYTHONPATH, None for ours, and a bundle.

    The processor's time is that of a whole process which makes one frame.
    """
    medians = {}
    for backend in backends:
        runs: dict[str, list[dict[str, float]]] = {label: [] for label in checkouts}
        for turn in range(repeats + 1):
            for label, (path, bundle) in checkouts.items():
                places = {"ECHOEXPORT_CACHE": str(cache / f"cache-{label}")}
                if path is not None:
                    places["PYTHONPATH"] = str(path)
                run = _make_first_frame(bundle, backend, places)
                if turn:  # the first fills the caches
                    runs[label].append(run)
        for label, found in runs.items():
            medians[f"{backend}, {label}"] = {
                name: round(statistics.median(run[name] for run in found), 3) for name in found[0]
            }
    return medians


def _make_first_frame(bundle: Path, backend: str, places: dict[str, str]) -> dict[str, float]:
    environment = {**os.environ, **places}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    line = [sys.executable, "-c", COMMAND, "run", str(bundle), "-p", str(builtin_portrait())]
    line += ["-v", str(builtin_voice()), "-o", "-", "--backend", backend, "--frames", "1"]
    start = time.perf_counter()
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert process.stdout is not None
    process.stdout.read(1)
    wall = time.perf_counter() - start
    process.stdout.read()
    status, used = os.wait4(process.pid, 0)[1:]
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{bundle}: its first frame failed on {backend}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime}


def _build(output: Path) -> Path:
    settings = BuildSettings(
        variant=CHARACTER_VARIANT, size=CHARACTER_SIZE, traces=find_cache_folder("traces")
    )
    build_bundle(
        builtin_checkpoint(), output, target=load_target("cpu-openvino"), settings=settings
    )
    return output


def _start(folder: Path, backend: str, cache: str) -> dict[str, float]:
    line = [sys.executable, "-c", CHILD, str(folder), backend, cache]
    found = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    values: dict[str, float] = json.loads(found)
    return {name: round(value, 3) if name != "peak" else value for name, value in values.items()}


def _summarize(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians, and the slowest load."""
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    return {**medians, "slowest_load": max(run["load"] for run in runs)}


if __name__ == "__main__":
    main()
