"""What a browser shows of a served bundle: how soon, how much in time, and for how long.

    python tests/benchmarks/bench_serve.py [BUNDLE] [--minutes 10] [--idle-minutes 30]

A real server in a process of its own, a headless Chromium with the kiosk page, and a program
that speaks to the page's session in chunks of 20 ms at their own pace. *Measured*, wall clock:
moments of the browser are those at which it expects a frame to be seen. Without a bundle the
built-in character is served, as ``echoexport serve`` would.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from results_file import parse_arguments, rank, write_results
from served_browser import RATE, Browser, Frames, ServerProcess, Speaker, write_pcm

from echoexport.export.demo.assets import builtin_portrait, builtin_voice
from echoexport.runtime import read_voice
from echoexport.runtime.serve.load.crowd import measure_crowd
from echoexport.runtime.serve.load.stream import LoadTarget

MOVED = 4.0  # levels of mean change in the mouth; at rest it changes by less than 1
ONSET = 0.3  # seconds of silence before the built-in voice speaks
ARRIVED = 200.0  # milliseconds of speech that have arrived when the clock starts
COVERED = 0.5  # of a picture from which on it is not that which is seen
QUIET = 1.2  # seconds without change after which a face is taken to be at rest
SLOWEST = 0.4  # seconds by which mouth and sound are compared for the best fit


PARTS = ("turns", "together", "idle", "restart", "webrtc", "full")


def main() -> None:
    """Measure and write."""
    arguments = read_arguments()
    voice = read_voice(builtin_voice()).samples[round(ONSET * RATE) :]
    bundle = arguments.bundle
    words = [] if bundle is None else [str(bundle), "-p", str(builtin_portrait())]
    found: dict[str, Any] = read_known(arguments)
    server = ServerProcess(words)
    found["ready_s"] = round(server.start(), 1)
    try:
        with Browser(server.url) as browser:
            found["chromium"] = browser.version
            speaker = Speaker(server)
            for name, measure in (
                ("turns", lambda: measure_turns(browser, speaker, voice, arguments.rounds)),
                ("together", lambda: measure_offset(browser, speaker, voice, arguments.minutes)),
                (
                    "idle",
                    lambda: measure_idle(browser, server, speaker, voice, arguments=arguments),
                ),
            ):
                note(found, name, measure, arguments=arguments)
            speaker.close()
            note(found, "restart", lambda: measure_restart(browser, server), arguments=arguments)
        note(
            found,
            "webrtc",
            lambda: measure_webrtc(server, voice, arguments.minutes),
            arguments=arguments,
        )
        note(
            found,
            "full",
            lambda: measure_full(server, voice, seconds=arguments.full_seconds),
            arguments=arguments,
        )
    finally:
        server.stop()


def read_arguments() -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="one with the networks for live")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="the others stay as they were")
    parser.add_argument("--rounds", type=int, default=20, help="of what is repeated")
    parser.add_argument("--minutes", type=float, default=10.0, help="of speech, for its sound")
    parser.add_argument("--idle-minutes", type=float, default=30.0, help="without a word")
    parser.add_argument("--full-seconds", type=float, default=30.0, help="with all sessions")
    return parse_arguments(parser, name="serve")


def read_known(arguments: argparse.Namespace) -> dict[str, Any]:
    """What an earlier run found, where only some parts are asked for."""
    if arguments.parts is None or not arguments.output.exists():
        return {}
    known: dict[str, Any] = json.loads(arguments.output.read_text(encoding="utf-8"))["measured"]
    return known


def note(
    found: dict[str, Any],
    name: str,
    measure: Callable[[], dict[str, Any]],
    *,
    arguments: argparse.Namespace,
) -> None:
    """Measure a part, if it is asked for, with the load that the machine had."""
    if arguments.parts is not None and name not in arguments.parts:
        return
    before = os.getloadavg()[0]
    found[name] = {**measure(), "load": [round(before, 2), round(os.getloadavg()[0], 2)]}
    sys.stdout.write(f"{name}: {found[name]}\n")
    write_results(arguments.output, {"measured": found})  # each part, as the next may fail


def measure_turns(
    browser: Browser, speaker: Speaker, voice: np.ndarray, count: int
) -> dict[str, Any]:
    """How soon a turn begins and how soon it ends when it is cancelled."""
    firsts = [time_first(browser, speaker, voice) for _ in range(count)]
    cancels = [time_cancel(browser, speaker, voice, number=number) for number in range(count)]
    return {
        "first_shown_ms_after_200_ms": rank([shown for shown, _ in firsts]),
        "first_frame_ms_of_the_server": rank([sent for _, sent in firsts]),
        "old_shown_ms_after_cancel": rank([old for old, _ in cancels]),
        "open_shown_ms_after_cancel": rank([opened for _, opened in cancels]),
    }


def wait_for_rest(browser: Browser) -> None:
    """Until the mouth has not moved for a while; that picture is what it is compared with."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        browser.rest()
        browser.page.wait_for_timeout(1000 * QUIET)
        shown = browser.take()
        if len(shown) > 5 and shown[:, 1].max() < MOVED / 2:
            return
    raise SystemExit("the face does not come to rest")


def time_first(browser: Browser, speaker: Speaker, voice: np.ndarray) -> tuple[float, float]:
    """Milliseconds after the first 200 ms: until a moved mouth was shown, and the server's own.

    The server's is of its first frame of the turn, moved or not, after the first sample.
    """
    wait_for_rest(browser)
    speaker.forget()
    begun = speaker.say(voice[: 2 * RATE]) * 1000
    told = speaker.wait_for("output_video.first_frame")
    browser.page.wait_for_timeout(800)
    shown = browser.take()
    moved = shown[(shown[:, 0] > begun) & (shown[:, 1] > MOVED)]
    if not len(moved):
        raise SystemExit("no moved mouth was shown")
    return float(moved[0, 0] - begun - ARRIVED), float(told["after_ms"]) - ARRIVED


def time_cancel(
    browser: Browser, speaker: Speaker, voice: np.ndarray, *, number: int
) -> tuple[float, float]:
    """Milliseconds from a cancel: until the last frame of what was said, and the last open mouth.

    The frames that ease the face back belong to no old turn, but their mouth is still open.
    """
    wait_for_rest(browser)
    speaker.forget()
    speaker.say(np.resize(voice, 4 * RATE), until=1.0 + 0.037 * (number % 7))
    called = time.time() * 1000
    speaker.tell("response.cancel")
    begins = float(speaker.wait_for("output_video.interrupted")["time"])
    browser.page.wait_for_timeout(1500)
    shown = browser.take()
    after = shown[shown[:, 0] > called]
    old = after[(after[:, 4] < begins - 0.001) & (after[:, 5] < COVERED)]
    opened = after[after[:, 1] > MOVED]
    return find_last(old, called), find_last(opened, called)


def find_last(shown: Frames, called: float) -> float:
    """Milliseconds until the last of these frames was seen; 0 where there is none."""
    return float(shown[-1, 0] - called) if len(shown) else 0.0


def measure_offset(
    browser: Browser, speaker: Speaker, voice: np.ndarray, minutes: float
) -> dict[str, Any]:
    """How far pictures and sound are apart in the browser while it speaks for minutes.

    The clock's is each frame's place in the video less the place of the sound that is heard as
    it is first seen; by WebRTC, the difference of what the browser says of both tracks. The
    content's is the lag at which the mouth follows the sound's loudness best, whose level is the
    character's own: its drift is what tells.
    """
    wait_for_rest(browser)
    browser.page.evaluate("probe.listen()")
    said = np.resize(
        np.concatenate([voice, np.zeros(RATE // 2, np.float32)]), round(60 * minutes) * RATE
    )
    talking = threading.Thread(target=speaker.say, args=(said,))
    talking.start()
    taken, told = [], []
    while talking.is_alive():
        browser.page.wait_for_timeout(1000)
        taken.append(browser.take())
        told += browser.take_offsets()
    shown = np.concatenate(taken)
    offsets = np.array(told) if told else np.column_stack([shown[:, 0], 1000 * shown[:, 2]])
    by_minute = [
        {
            "offset_ms_p50": round(float(np.median(find_minute(offsets, shown, one)[:, 1])), 1),
            "lag_ms": find_lag(find_minute(shown, shown, one)),
            "frames": len(find_minute(shown, shown, one)),
        }
        for one in range(max(1, int((shown[-1, 0] - shown[0, 0]) // 60_000)))
    ]
    return {
        "minutes": minutes,
        "offset_ms_p1_p50_p99": [
            round(float(x), 1) for x in np.quantile(offsets[:, 1], (0.01, 0.5, 0.99))
        ],
        "offset_drift_ms": round(by_minute[-1]["offset_ms_p50"] - by_minute[0]["offset_ms_p50"], 1),
        "lag_drift_ms": round(by_minute[-1]["lag_ms"] - by_minute[0]["lag_ms"], 1),
        "by_minute": by_minute,
    }


def measure_webrtc(server: ServerProcess, voice: np.ndarray, minutes: float) -> dict[str, Any]:
    """The same for a page that plays by WebRTC."""
    time.sleep(6)  # the place of a page before it is free again
    with Browser(server.url, query="?webrtc") as browser:
        browser.wait_for("face.srcObject instanceof MediaStream")
        speaker = Speaker(server)
        try:
            found = measure_offset(browser, speaker, voice, minutes)
        finally:
            speaker.close()
        if not browser.page.evaluate("face.srcObject instanceof MediaStream"):
            raise SystemExit("the page went back to the socket")
    return found


def find_minute(rows: np.ndarray, shown: Frames, minute: int) -> np.ndarray:
    """Those of a minute since the first frame was shown; the time stands first in each."""
    return rows[(rows[:, 0] - shown[0, 0]) // 60_000 == minute]


def find_lag(shown: Frames) -> float:
    """Milliseconds by which the mouth follows the loudness, where they agree best."""
    ticks = np.arange(shown[0, 0], shown[-1, 0], 10.0)
    mouth = standardize(np.interp(ticks, shown[:, 0], shown[:, 1]))
    loudness = standardize(np.interp(ticks, shown[:, 0], shown[:, 3]))
    most = round(SLOWEST * 100)
    fits = np.array(
        [
            float(np.mean(mouth[most + lag : mouth.size - most + lag] * loudness[most:-most]))
            for lag in range(-most, most + 1)
        ]
    )
    best = int(np.clip(fits.argmax(), 1, fits.size - 2))
    left, middle, right = fits[best - 1 : best + 2]
    bend = left - 2 * middle + right
    finer = 0.5 * (left - right) / bend if bend else 0.0
    return round(10 * (best - most + float(finer)), 1)


def standardize(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1."""
    return (values - values.mean()) / max(float(values.std()), 1e-9)


def measure_idle(
    browser: Browser,
    server: ServerProcess,
    speaker: Speaker,
    voice: np.ndarray,
    *,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """What minutes without a word leave: memory, files, threads, and a page that still lives."""
    for _ in range(3):  # what grows with the first turns has grown
        time_first(browser, speaker, voice)
    wait_for_rest(browser)
    minutes = arguments.idle_minutes
    before = server.count()
    ended = time.monotonic() + 60 * minutes
    while time.monotonic() < ended:
        browser.page.wait_for_timeout(1000 * min(10.0, max(0.1, ended - time.monotonic())))
        browser.take()
    after = server.count()
    browser.rest()
    browser.page.wait_for_timeout(5000)
    lively = len(browser.take()) / 5
    again = [time_first(browser, speaker, voice) for _ in range(arguments.rounds)]
    return {
        "minutes": minutes,
        "rss_mb": [round(count["rss"] / 1e6, 1) for count in (before, after)],
        "rss_growth": round(after["rss"] / before["rss"] - 1, 4),
        "files_more": after["files"] - before["files"],
        "threads_more": after["threads"] - before["threads"],
        "shown_a_second": round(lively, 1),
        "first_shown_ms_after_it": rank([shown for shown, _ in again]),
    }


def measure_restart(browser: Browser, server: ServerProcess) -> dict[str, float]:
    """A server that is killed and begun again: seconds until the page plays, by itself."""
    server.kill()
    browser.wait_for("document.body.classList.contains('lost')")
    begun = time.monotonic()
    ready = server.start()
    browser.wait_for("!document.body.classList.contains('lost')")
    return {"ready_s": round(ready, 2), "playing_s": round(time.monotonic() - begun, 2)}


def measure_full(server: ServerProcess, voice: np.ndarray, *, seconds: float) -> dict[str, Any]:
    """As many sessions as are let in, all speaking; what the next is told; a place set free."""
    time.sleep(6)  # the page's place is free again
    before = server.read_figures()
    crowd = measure_crowd(LoadTarget(server.url, write_pcm(voice)), streams=None, duration=seconds)
    after = server.read_figures()
    name = "echoexport_late_seconds_count"
    return {
        "seconds": seconds,
        "sessions": len(crowd.streams),
        "refused": crowd.reason,
        "late_frames": after[name] - before[name],
        "errors": [stream.error for stream in crowd.streams if stream.error],
        "place_free_again_s": measure_place(server),
    }


def measure_place(server: ServerProcess) -> float:
    """Seconds after which the place of a client that is killed is another's."""
    with ExitStack() as stack:
        while True:
            last = stack.enter_context(server.connect())
            if json.loads(last.recv(timeout=60))["type"] == "error":
                break
            killed = last
        killed.socket.close()  # no goodbye
        return time_place(server)


def time_place(server: ServerProcess) -> float:
    """Seconds until another session is let in."""
    begun = time.monotonic()
    while time.monotonic() - begun < 30:
        with server.connect() as socket:
            if json.loads(socket.recv(timeout=60))["type"] != "error":
                return round(time.monotonic() - begun, 2)
        time.sleep(0.1)
    raise SystemExit("no place was set free")


if __name__ == "__main__":
    main()
