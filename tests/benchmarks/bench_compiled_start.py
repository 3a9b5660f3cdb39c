"""Start of the demo bundle.

Six networks opened in a fresh process, portable, with a warm cache, and compiled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from results_file import parse_arguments, write_results

from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.compile.bundle import CompileSettings, compile_bundle
from echoexport.export.demo.assets import CHARACTER_SIZE, CHARACTER_VARIANT, builtin_checkpoint
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


def main() -> None:
    """Build the demo, compile it for each CPU backend, and measure the starts in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--bundle", type=Path, help="a portable bundle to measure in place of the demo's"
    )
    arguments = parse_arguments(parser, name="compiled_start")
    backends = [name for name in BACKENDS if load_backend(name).unavailable() is None]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bundle = arguments.bundle or _build(folder / "bundle")
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
        runs: dict[str, list[dict[str, float]]] = {label: [] for label in cases}
        for turn in range(arguments.repeats + 1):
            for label, case in cases.items():
                run = _start(*case)
                if turn:  # the first fills the caches, of files and of OpenVINO
                    runs[label].append(run)
    medians = {label: _summarize(found) for label, found in runs.items()}
    for label, found in medians.items():
        sys.stdout.write(
            f"  {label:<34} load {found['load']:6.3f} s   processor {found['cpu']:6.3f} s\n"
        )
    about = {
        "what": "open_bundle and every network opened, in a fresh process",
        "origin": "measured",
        "repeats": arguments.repeats,
        "wanted_seconds": WANTED_SECONDS,
    }
    write_results(arguments.output, {**about, "engines": sizes, "medians": medians, "runs": runs})


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
