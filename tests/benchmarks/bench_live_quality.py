"""Frames drawn forwards only against those of a whole clip, over all held-out clips.

Each way of streaming_candidates.py is drawn, decoded without holding pixels still, and
measured against the truth and against offline. A run that was cut short goes on from the
file that --progress names.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_tables import draw_live_quality
from results_file import parse_arguments, write_results
from streaming_candidates import CANDIDATES, Candidate, draw_clip
from streaming_figures import (
    GATES,
    OFFLINE,
    ClipFigures,
    DriftFigures,
    measure_candidate,
    measure_offline,
    sum_up,
)
from streaming_studio import Studio

from echoexport.export.demo.gates.clips import GateCase, join_clips, pair_up
from echoexport.export.demo.gates.run import GateSettings, list_cases
from echoexport.export.demo.held_out import read_held_out
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.engine.protocol import EngineOptions

HELD_OUT = Path(__file__).parent.parent / "export" / "demo" / "data" / "held_out.npz"
CPU_INFO = Path("/proc/cpuinfo")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")
SILENT = 3
DRIFT_SPAN = 10  # seconds at either end


def main() -> None:
    """Draw, measure, print the table and write it."""
    arguments = read_arguments()
    options = EngineOptions(compute=arguments.compute, lanes=arguments.jobs)
    with open_bundle(arguments.bundle, backend=arguments.backend, options=options) as bundle:
        studio = Studio(bundle, jobs=arguments.jobs, fps=arguments.fps)
        run = Run(arguments, studio)
        run.draw_all()
        results = run.sum_up()
    sys.stdout.write(draw_live_quality(results) + "\n")
    write_results(arguments.output, results)


def read_arguments() -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--bundle", type=Path, required=True, help="a bundle of the demo's checkpoint")
    add("--backend", help="of those the bundle lists; default: its best that is installed")
    add("--compute", default="", help="the engine's arithmetic; default: the bundle's own")
    add("--clips", type=int, default=44, help="clips that speak; three silent ones on top")
    add("--fps", type=float, default=25.0, help="frames a second")
    add("--steps", type=int, nargs="+", default=[4, 2], help="of the sampling loop")
    add("--variants", nargs="+", metavar="NAME", help="default: all that the bundle can draw")
    add("--jobs", type=int, default=2, help="clips at once, each on a thread of every engine")
    add("--minutes", type=float, help="begin no clip after that many; what is done is summed up")
    add(
        "--drift-seconds", type=float, default=0.0, help="length of a joined clip for each live way"
    )
    add("--progress", type=Path, help="file of what is measured; a run goes on from it")
    arguments = parse_arguments(parser, name="live_quality")
    known = [candidate.name for candidate in CANDIDATES]
    for name in arguments.variants or ():
        if name not in known:
            parser.error(f"no variant {name!r}; known: {', '.join(known)}")
    return arguments


@dataclass(frozen=True)
class Place:
    """Which clip of how many."""

    number: int
    total: int


class Run:
    """What was asked for, and all that is measured of it."""

    def __init__(self, arguments: argparse.Namespace, studio: Studio) -> None:
        self.arguments = arguments
        self.studio = studio
        self.about = studio.describe()
        networks = studio.bundle.manifest.networks
        wanted = arguments.variants or [candidate.name for candidate in CANDIDATES]
        self.candidates = [
            candidate
            for candidate in CANDIDATES
            if candidate.name in wanted and candidate.network in networks
        ]
        self.default_steps = int(studio.bundle.manifest.sampler.most_steps)
        self.known = dict[tuple[str, str, int], ClipFigures]()
        self.drifts = dict[tuple[str, int, float], DriftFigures]()
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._read_progress()

    @property
    def cases(self) -> list[GateCase]:
        """Every clip with who says it."""
        settings = GateSettings(clips=self.arguments.clips, silent=SILENT, fps=self.arguments.fps)
        return list_cases(read_held_out(HELD_OUT), settings)

    def draw_all(self) -> None:
        """All that is not known yet, several clips at once."""
        cases = self.cases
        with ThreadPoolExecutor(self.arguments.jobs) as pool:
            places = [Place(number, len(cases)) for number in range(1, len(cases) + 1)]
            try:
                list(pool.map(self._draw_case, cases, places))
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                raise
        for candidate in self.candidates if self.arguments.drift_seconds else ():
            for steps in self.arguments.steps if candidate.live else ():
                self._measure_drift(candidate, steps)

    def sum_up(self) -> dict[str, Any]:
        """The results, each way's of the clips that were drawn so, in part perhaps."""
        names = [case.clip.name for case in self.cases]
        delays = {c.name: c.delay(self.arguments.fps) for c in self.candidates}
        default = self._find_clips(OFFLINE, self.default_steps, names)
        ways = []
        correlations = {}
        for way, steps in self._list_wanted():
            offline = self._find_clips(OFFLINE, steps, names)
            clips = self._find_clips(way, steps, [*(offline.keys() & default.keys())])
            if any(clip.correlation is not None for clip in clips.values()):
                found = sum_up([*clips.values()], offline, default, delay=delays.get(way))
                ways.append(dump(found))
                correlations[f"{way}, {steps} steps"] = {
                    name: clips[name].correlation for name in names if name in clips
                }
        return {
            "bundle": self.about,
            "flags": read_flags(),
            "clips": len(names),
            "frames": sum(clip.frames for clip in default.values()),
            "fps": self.arguments.fps,
            "default_steps": self.default_steps,
            "gates": GATES,
            "ways": ways,
            "drift": [dump(one) for one in self.drifts.values()],
            "correlations": correlations,
        }

    def _find_clips(self, way: str, steps: int, names: list[str]) -> dict[str, ClipFigures]:
        """Those of the named clips that were drawn in this way."""
        keys = [(name, way, steps) for name in names]
        return {key[0]: self.known[key] for key in keys if key in self.known}

    def _list_wanted(self) -> list[tuple[str, int]]:
        ways = [OFFLINE, *(candidate.name for candidate in self.candidates)]
        steps = self.arguments.steps
        default = [] if self.default_steps in steps else [(OFFLINE, self.default_steps)]
        return default + [(way, number) for number in steps for way in ways]

    def _draw_case(self, case: GateCase, place: Place) -> None:
        if self.arguments.minutes is not None and self._minutes() > self.arguments.minutes:
            return
        missing = [key for key in self._list_wanted() if (case.clip.name, *key) not in self.known]
        if not missing:
            return
        scene = self.studio.make_scene(case)
        for steps in sorted({steps for _, steps in missing}, reverse=True):
            latents, calls = self.studio.render_offline(case, steps)
            reference = self.studio.decode(latents)
            if (OFFLINE, steps) in missing:
                self._tell(measure_offline(case, reference, steps=steps, calls=calls), place)
            for candidate in self.candidates:
                if (candidate.name, steps) not in missing:
                    continue
                drawn = draw_clip(
                    candidate,
                    self.studio.networks[candidate.network],
                    scene,
                    manifest=self.studio.bundle.manifest,
                    steps=steps,
                )
                figures = measure_candidate(
                    case,
                    self.studio.decode(drawn.latents),
                    reference,
                    about=(candidate.name, steps),
                    starts=drawn.starts,
                    calls=drawn.calls,
                )
                self._tell(figures, place)

    def _measure_drift(self, candidate: Candidate, steps: int) -> None:
        seconds = self.arguments.drift_seconds
        if (candidate.name, steps, seconds) in self.drifts:
            return
        speaking = [clip for clip in read_held_out(HELD_OUT) if not clip.is_silent]
        settings = GateSettings()
        case = pair_up(
            join_clips(speaking, seconds=seconds),
            person=settings.first_person + len(speaking) + SILENT,
            fps=self.arguments.fps,
            size=settings.size,
        )
        found = self.studio.measure_drift(
            candidate, case, steps=steps, span=round(DRIFT_SPAN * self.arguments.fps)
        )
        figures = DriftFigures(candidate.name, steps, seconds, found.first, found.last)
        with self._lock:
            self.drifts[candidate.name, steps, seconds] = figures
            self._write_progress("drift", dump(figures))
        sys.stderr.write(f"{seconds:g} s joined, {candidate.name}, {steps} steps: {found}\n")

    def _tell(self, figures: ClipFigures, place: Place) -> None:
        with self._lock:
            self.known[figures.key] = figures
            self._write_progress("clip", dump(figures))
        r = "silent" if figures.correlation is None else f"r {figures.correlation:.3f}"
        sys.stderr.write(
            f"{self._minutes():5.1f} min, clip {place.number} of {place.total}, {figures.clip}: "
            f"{figures.way}, {figures.steps} steps: {r}\n"
        )

    def _minutes(self) -> float:
        return (time.monotonic() - self._begun) / 60

    def _read_progress(self) -> None:
        path = self.arguments.progress
        lines = path.read_text("utf-8").splitlines() if path and path.exists() else []
        for entry in map(json.loads, lines):
            if entry["about"] != self.about:
                continue
            if "clip" in entry:
                clip = parse(ClipFigures, entry["clip"], where="clip")
                self.known[clip.key] = clip
            else:
                one = parse(DriftFigures, entry["drift"], where="drift")
                self.drifts[one.way, one.steps, one.seconds] = one

    def _write_progress(self, name: str, figures: object) -> None:
        if self.arguments.progress:
            with self.arguments.progress.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"about": self.about, name: figures}) + "\n")


def read_flags() -> list[str]:
    """Of the processor, those that decide how it computes."""
    text = CPU_INFO.read_text("utf-8") if CPU_INFO.exists() else ""
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return [flag for flag in FLAGS if flag in line.split()]


if __name__ == "__main__":
    main()
