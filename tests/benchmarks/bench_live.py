"""How soon, how steadily and for how many a bundle speaks live on this machine.

    python tests/benchmarks/bench_live.py BUNDLE [--steps 2 4] [--minutes M] [--mode MODE]

The figures of docs/live.md that are times, counts or memory: the first frame that moves after
200 ms of speech in chunks of 20 ms, and of a sentence pushed at once; one session that speaks
for minutes; how many sessions this machine holds, and what the next one is told; what idling
costs; how soon an interrupted face is still. *Measured*, wall clock. Figures of another
machine, or of this one while it is busy, say nothing of each other.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from results_file import parse_arguments, rank, write_results

from echoexport.export.demo.assets import builtin_portrait, builtin_voice
from echoexport.runtime import (
    Bundle,
    Conversation,
    EngineOptions,
    LiveFrame,
    open_bundle,
    read_voice,
)
from echoexport.runtime.errors import CapacityError
from echoexport.runtime.files.cache_folders import find_cache_folder
from echoexport.runtime.live.frames import IDLE
from echoexport.runtime.live.playing import measure_resident

RATE = 16_000
CHUNK = 320  # samples, 20 ms
MOUTH = (slice(76, 100), slice(44, 84))  # rows and columns of the built-in portrait at 128 px
MOVED = 4.0  # levels of mean change in the mouth; at rest it changes by less than 1
ONSET = 0.3  # seconds of silence before the built-in voice speaks


class Watch:
    """Takes a session's frames in a thread of its own, and notes when each came."""

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.latest: deque[tuple[float, LiveFrame]] = deque(maxlen=400)
        self.heard: list[tuple[float, int]] = []  # moments of frames with sound, and samples
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        for frame in self.talk:
            moment = time.monotonic()
            if frame.samples.size:
                self.heard.append((moment, frame.samples.size))
            self.latest.append((moment, frame))

    def since(self, begun: float) -> list[tuple[float, LiveFrame]]:
        """Frames that came after a moment, of the latest."""
        return [(moment, frame) for moment, frame in list(self.latest) if moment > begun]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="one with the networks for live")
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--mode", choices=["renoised", "cached"], nargs="+", default=None)
    parser.add_argument("--rounds", type=int, default=20, help="of what is repeated")
    parser.add_argument("--minutes", type=float, default=2.0, help="of the session that speaks")
    arguments = parse_arguments(parser, name="live")
    voice = read_voice(builtin_voice()).samples[round(ONSET * RATE) :]
    results: dict[str, Any] = {}
    options = EngineOptions(cache=find_cache_folder("engines"))
    with open_bundle(arguments.bundle, options=options) as bundle:
        for mode in arguments.mode or ("cached", "renoised"):
            for steps in arguments.steps:
                settings = {"mode": mode, "steps": steps, "fps": 25}
                found = measure(bundle, voice, settings, arguments=arguments)
                results[f"{mode}, {steps} steps"] = found
                sys.stdout.write(f"{mode}, {steps} steps: {found}\n")
    write_results(arguments.output, {"measured": results})


def measure(
    bundle: Bundle, voice: np.ndarray, settings: dict[str, Any], *, arguments: argparse.Namespace
) -> dict[str, Any]:
    """All figures of one way to sample."""
    found: dict[str, Any] = {}
    with bundle.live(builtin_portrait(), **settings) as talk:
        watch = Watch(talk)
        time.sleep(1)
        found["first_moved_ms_after_200_ms"] = rank(
            [time_first(watch, voice, at_once=False) - 200 for _ in range(arguments.rounds)]
        )
        found["first_moved_ms_at_once"] = rank(
            [time_first(watch, voice, at_once=True) for _ in range(arguments.rounds)]
        )
        found["still_ms_after_interrupt"] = rank(
            [time_still(watch, voice) for _ in range(arguments.rounds)]
        )
        found["idle"] = measure_idle(watch)
        found["turns"] = measure_turns(watch, voice)
    with bundle.live(builtin_portrait(), **settings) as talk:
        found["alone"] = measure_speaking([talk], voice, seconds=arguments.minutes * 60)
    found["full"] = measure_full(bundle, voice, settings)
    return found


def time_first(watch: Watch, voice: np.ndarray, *, at_once: bool) -> float:
    """Milliseconds from the first sample to the first frame whose mouth has moved."""
    rest = wait_for_rest(watch)
    sentence = voice[: RATE * 1]
    begun = time.monotonic()
    if at_once:
        watch.talk.push(sentence, RATE)
    else:
        speak(watch.talk, sentence, begun)
    watch.talk.flush()
    while True:
        for moment, frame in watch.since(begun):
            if measure_change(frame.picture, rest) > MOVED:
                return (moment - begun) * 1e3
        if time.monotonic() - begun > 5:
            raise SystemExit("no frame moved within 5 s")
        time.sleep(0.01)


def time_still(watch: Watch, voice: np.ndarray) -> float:
    """Milliseconds from an interrupt to the last frame whose mouth is still open."""
    rest = wait_for_rest(watch)
    begun = time.monotonic()
    watch.talk.push(voice, RATE)
    time.sleep(1.0 + 0.037 * (watch.talk.statistics.frames % 7))
    called = time.monotonic()
    watch.talk.interrupt()
    time.sleep(0.8)
    late = [moment for moment, frame in watch.since(called) if frame.samples.size]
    if late:
        raise SystemExit(f"old sound {(late[-1] - called) * 1e3:.0f} ms after an interrupt")
    opened = [
        moment
        for moment, frame in watch.since(called)
        if measure_change(frame.picture, rest) > MOVED and moment > begun
    ]
    return (opened[-1] - called) * 1e3 if opened else 0.0


def measure_idle(watch: Watch) -> dict[str, float]:
    """What ten seconds without sound cost."""
    wait_for_rest(watch)
    calls = watch.talk.statistics.denoiser_calls
    begun = os.times()
    time.sleep(10)
    ended = os.times()
    busy = ended.user + ended.system - begun.user - begun.system
    return {
        "cores": round(busy / 10, 4),
        "denoiser_calls": watch.talk.statistics.denoiser_calls - calls,
    }


def measure_turns(watch: Watch, voice: np.ndarray) -> dict[str, float]:
    """How far the picture jumps where the loop is left and entered, by what speech itself does.

    And how far the mouth moves at rest, as a share of how far it moves in speech.
    """
    spoken = list[float]()
    entered = list[float]()
    left = list[float]()
    open_mouth = list[float]()
    shut_mouth = list[float]()
    for _ in range(6):
        rest = wait_for_rest(watch)
        begun = time.monotonic()
        # As a microphone has it: a moment before the first word.
        watch.talk.push(np.concatenate([np.zeros(RATE // 5, np.float32), voice[: RATE * 2]]), RATE)
        watch.talk.flush()
        time.sleep(4)
        frames = [frame for _, frame in watch.since(begun)]
        for one, other in pairwise(frames):
            change = float(np.abs(other.picture.astype(np.int16) - one.picture).mean())
            if one.state == IDLE and other.state == IDLE:
                shut_mouth.append(measure_change(other.picture, rest))
            elif one.state == IDLE:
                entered.append(change)
            elif other.state == IDLE:
                left.append(change)
            else:
                spoken.append(change)
                open_mouth.append(measure_change(other.picture, rest))
    mean = float(np.mean(spoken))
    return {
        "entering_over_speech": round(max(entered) / mean, 2),
        "leaving_over_speech": round(max(left) / mean, 2),
        "mouth_at_rest_over_speech": round(max(shut_mouth) / max(open_mouth), 3),
    }


def measure_full(bundle: Bundle, voice: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    """As many sessions as are let in, all speaking; and what the next one is told."""
    talks: list[Conversation] = []
    refused = ""
    try:
        while len(talks) < 64:
            talks.append(bundle.live(builtin_portrait(), **settings))
    except CapacityError as error:
        refused = str(error)
    found = measure_speaking(talks, voice, seconds=30)
    for talk in talks:
        talk.close()
    return {"sessions": len(talks), "refused": refused, **found}


def measure_speaking(
    talks: list[Conversation], voice: np.ndarray, *, seconds: float
) -> dict[str, Any]:
    """Sessions that speak without a pause: late frames, delay, and what memory did."""
    watches = [Watch(talk) for talk in talks]
    time.sleep(0.5)
    begun = time.monotonic()
    busy = os.times()
    speakers = [
        threading.Thread(
            target=speak,
            args=(talk, np.resize(np.roll(voice, 997 * number), round(seconds * RATE)), begun),
        )
        for number, talk in enumerate(talks)
    ]
    for speaker in speakers:
        speaker.start()
    resident = []
    while any(speaker.is_alive() for speaker in speakers):
        time.sleep(0.5)
        resident.append(measure_resident())
    ended = os.times()
    delays = np.sort(np.concatenate([find_delays(watch, begun) for watch in watches]))
    warm = resident[min(len(resident) - 1, 20)]
    return {
        "seconds": seconds,
        "late_frames": sum(talk.statistics.late_frames for talk in talks),
        "steps_down": sum(talk.steps_down for talk in talks),
        "delay_ms_p50": round(float(np.quantile(delays, 0.5)) * 1e3, 1),
        "delay_ms_p99": round(float(np.quantile(delays, 0.99)) * 1e3, 1),
        "delay_ms_spread": round(float(delays[-1] - delays[0]) * 1e3, 1),
        "cores": round(
            (ended.user + ended.system - busy.user - busy.system) / (time.monotonic() - begun), 2
        ),
        "rss_growth": round(resident[-1] / warm - 1, 4),
        "fps_capacity": round(25 / talks[0].measure_share(), 1),
    }


def find_delays(watch: Watch, begun: float) -> np.ndarray:
    """Seconds from each frame's first sample to the frame."""
    heard = 0
    delays = []
    for moment, samples in watch.heard:
        delays.append(moment - begun - heard / RATE)
        heard += samples
    return np.array(delays)


def speak(talk: Conversation, voice: np.ndarray, begun: float) -> None:
    """Push a voice in chunks of 20 ms, each when it would have been spoken."""
    for start in range(0, voice.size, CHUNK):
        chunk = voice[start : start + CHUNK]
        time.sleep(max(0.0, begun + (start + chunk.size) / RATE - time.monotonic()))
        talk.push(chunk, RATE)


def wait_for_rest(watch: Watch) -> np.ndarray:
    """A picture of the face after it has rested for some frames."""
    while True:
        latest = [frame for _, frame in list(watch.latest)[-12:]]
        if len(latest) == 12 and all(frame.state == IDLE for frame in latest):
            return latest[-1].picture
        time.sleep(0.02)


def measure_change(picture: np.ndarray, rest: np.ndarray) -> float:
    """Mean change of the mouth, in levels."""
    return float(np.abs(picture[MOUTH].astype(np.int16) - rest[MOUTH]).mean())


if __name__ == "__main__":
    main()
