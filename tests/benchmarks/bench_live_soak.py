"""Does a live session last: memory, handles, threads and delay over real minutes.

    python tests/benchmarks/bench_live_soak.py BUNDLE [--minutes 60]

One session at 25 frames a second speaks half of every minute and idles the other half, with a
new portrait each minute. *Measured* every ten seconds: resident memory, open files, threads;
and each frame's delay to its sound, whose drift would be sound and picture coming apart.
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from results_file import parse_arguments, write_results

from echoexport.export.demo.assets import builtin_portrait, builtin_voice
from echoexport.runtime import Conversation, EngineOptions, open_bundle, read_portrait, read_voice
from echoexport.runtime.files.cache_folders import find_cache_folder
from echoexport.runtime.live.playing import measure_resident

RATE = 16_000
CHUNK = 320
WARM = 5  # minutes


class Listener:
    """Takes frames in a thread; keeps the delay of those with sound, by the minute."""

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.begun = 0.0  # when the current utterance's first sample was pushed
        self.heard = 0
        self.delays: list[float] = []
        self.frames = 0
        self.samples = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        for frame in self.talk:
            self.frames += 1
            if frame.samples.size:
                self.delays.append(time.monotonic() - self.begun - self.heard / RATE)
                self.heard += frame.samples.size
                self.samples += frame.samples.size

    def start(self) -> None:
        """A new utterance begins now."""
        self.begun = time.monotonic()
        self.heard = 0
        self.delays = []


def main() -> None:
    """Run, print each minute, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=int, default=60)
    arguments = parse_arguments(parser, name="live_soak")
    voice = read_voice(builtin_voice()).samples
    portrait = read_portrait(builtin_portrait())
    options = EngineOptions(cache=find_cache_folder("engines"))
    minutes: list[dict[str, Any]] = []
    before = count_handles()
    with (
        open_bundle(arguments.bundle, options=options) as bundle,
        bundle.live(builtin_portrait(), fps=25, steps=2) as talk,
    ):
        listener = Listener(talk)
        for minute in range(arguments.minutes):
            talk.portrait(np.roll(portrait, minute + 1, axis=1))
            minutes.append(spend_minute(talk, listener, voice))
            sys.stdout.write(f"minute {minute + 1}: {minutes[-1]}\n")
            sys.stdout.flush()
    gc.collect()
    after = count_handles()
    warm = minutes[min(WARM, len(minutes) - 1)]
    results = {
        "minutes": len(minutes),
        "rss_growth": round(minutes[-1]["rss"] / warm["rss"] - 1, 4),
        "handles_left": after["files"] - before["files"],
        "threads_left": after["threads"] - before["threads"],
        "delay_ms_first": minutes[0]["delay_ms"],
        "delay_ms_last": minutes[-1]["delay_ms"],
        "late_frames": minutes[-1]["late_frames"],
        "by_minute": minutes,
    }
    write_results(arguments.output, results)


def spend_minute(talk: Conversation, listener: Listener, voice: np.ndarray) -> dict[str, Any]:
    """Half a minute of speech at its own pace, half of silence; what it left."""
    begun = time.monotonic()
    listener.start()
    said = np.resize(voice, 30 * RATE)
    for start in range(0, said.size, CHUNK):
        time.sleep(max(0.0, begun + (start + CHUNK) / RATE - time.monotonic()))
        talk.push(said[start : start + CHUNK], RATE)
    talk.flush()
    time.sleep(max(0.0, begun + 60 - time.monotonic()))
    delays = np.array(listener.delays)
    return {
        "rss": measure_resident(),
        **count_handles(),
        "delay_ms": round(float(np.median(delays)) * 1e3, 1),
        "delay_ms_max": round(float(delays.max()) * 1e3, 1),
        "frames": listener.frames,
        "late_frames": talk.statistics.late_frames,
    }


def count_handles() -> dict[str, int]:
    """Open files and threads of this process."""
    place = Path("/proc/self/fd")
    files = sum(1 for _ in place.iterdir()) if place.is_dir() else 0
    return {"files": files, "threads": threading.active_count()}


if __name__ == "__main__":
    main()
