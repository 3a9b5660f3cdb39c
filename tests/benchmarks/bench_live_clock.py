"""Twelve hours of a live session on a clock of its own: nothing grows, nothing drifts.

    python tests/benchmarks/bench_live_clock.py [--hours 12]

A null bundle talks in simulated time, every frame of it taken: a sentence every minute, a
second interrupt every ten, a reset every hour. *Measured*: resident memory and Python's own
objects; the simulated delay of every sentence's first frame must not move.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # of the fixtures

import numpy as np
from fixtures.live_stage import Stage, make_voice, open_stage
from results_file import parse_arguments, write_results

from echoexport.runtime.live.playing import measure_resident
from echoexport.runtime.live.session import LiveSession


def main() -> None:
    """Run, print each hour, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=int, default=12)
    arguments = parse_arguments(parser, name="live_clock")
    begun = time.monotonic()
    hours: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        open_stage(Path(folder) / "null") as stage,
        stage.talk() as talk,
    ):
        for hour in range(arguments.hours):
            hours.append(spend_hour(stage, talk))
            sys.stdout.write(f"hour {hour + 1}: {hours[-1]}\n")
            sys.stdout.flush()
    delays = [hour["delay_ms"] for hour in hours]
    results = {
        "hours": len(hours),
        "real_seconds": round(time.monotonic() - begun, 1),
        "rss_growth": round(hours[-1]["rss"] / hours[0]["rss"] - 1, 4),
        "objects_growth": hours[-1]["objects"] - hours[0]["objects"],
        "delay_ms_spread": round(max(delays) - min(delays), 3),
        "late_frames": hours[-1]["late_frames"],
        "by_hour": hours,
    }
    write_results(arguments.output, results)


def spend_hour(stage: Stage, talk: LiveSession) -> dict[str, Any]:
    """Sixty minutes of simulated time, every frame taken."""
    delays = []
    for minute in range(60):
        start = stage.time.now()
        stage.speak(talk, make_voice(3.0, seed=minute), delay=0.5)
        first: float | None = None
        while stage.time.now() < start + 60:
            frame = talk.next_frame()
            if frame is not None and frame.samples.size and first is None:
                first = stage.time.now() - start - 0.5
            if minute % 10 == 9 and 2.0 < stage.time.now() - start < 2.05:
                talk.interrupt()
        delays.append(0.0 if first is None else first)
    talk.reset()
    gc.collect()
    return {
        "rss": measure_resident(),
        "objects": len(gc.get_objects()),
        "delay_ms": round(float(np.median(delays)) * 1e3, 3),
        "late_frames": talk.statistics.late_frames,
        "frames": talk.statistics.frames,
    }


if __name__ == "__main__":
    main()
