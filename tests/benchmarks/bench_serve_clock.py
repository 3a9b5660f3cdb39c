"""Twelve hours of a served session on a clock of its own: nothing grows, nothing drifts.

    python tests/benchmarks/bench_serve_clock.py [--hours 12]

What ``bench_live_clock.py`` does, through all that a server adds: the encoder, the fragments and
a viewer that takes each. A sentence is said at the end of every hour; the rest is idle.
*Measured*: resident memory, Python's own objects, and how far the ends of the picture's and the
sound's track lie apart in what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # of the fixtures

from fixtures.live_stage import Stage, make_voice, open_stage
from results_file import parse_arguments, write_results

from echoexport.runtime import LiveFrame
from echoexport.runtime.live.playing import measure_resident
from echoexport.runtime.live.session import LiveSession
from echoexport.runtime.serve.broadcast.encoder import SOUND_RATE
from echoexport.runtime.serve.broadcast.viewers import Audience, Viewer
from echoexport.runtime.serve.figures import ServeFigures
from echoexport.runtime.serve.load.track_ends import TrackEnds
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.served import ServedSession, SessionIdentity

KEPT = 200  # fragments, of which the ends of both tracks are read
LAG = 100  # fragments that a viewer may have waiting before the clock waits for it
HOUR = 3600.0


class LongTalk:
    """A session in simulated time that speaks once an hour, as a served session takes it."""

    def __init__(self, stage: Stage, session: LiveSession, *, hours: int) -> None:
        self.numbers = session.numbers
        self.hours = hours
        self.sent = 0
        self.reached = threading.Event()
        self.go = threading.Event()
        self.viewer: Viewer | None = None
        self.first_ms: list[float] = []
        self._stage = stage
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __iter__(self) -> Iterator[LiveFrame]:
        yield from self._spend(1.0)
        for hour in range(self.hours):
            yield from self._spend(HOUR - 10)
            begun = self._stage.time.now()
            self._stage.speak(self._session, make_voice(3.0, seed=hour), delay=0.5)
            yield from self._spend(10.0)
            self.first_ms.append(1e3 * (self._first - begun - 0.5))
            self.reached.set()
            self.go.wait()
            self.go.clear()

    def _spend(self, seconds: float) -> Iterator[LiveFrame]:
        until = self._stage.time.now() + seconds
        self._first = 0.0
        while self._stage.time.now() < until:
            frame = self._session.next_frame()
            if frame is None:
                return
            if frame.samples.size and not self._first:
                self._first = self._stage.time.now()
            while self.viewer is not None and len(self.viewer._waiting) > LAG:
                time.sleep(0.001)
            yield frame

    def close(self) -> None:
        self.go.set()


class Reader:
    """A viewer in a loop of its own, which keeps the newest fragments."""

    def __init__(self, audience: Audience) -> None:
        self.newest = deque[bytes](maxlen=KEPT)
        self.events = 0
        self.viewer: Viewer | None = None
        self._audience = audience
        self._joined = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._read()), daemon=True).start()
        self._joined.wait()

    async def _read(self) -> None:
        self.viewer = self._audience.join()
        self._joined.set()
        while (item := await self.viewer.take()) is not None:
            if isinstance(item, bytes):
                self.newest.append(item)
            else:
                self.events += 1


def main() -> None:
    """Run, print each hour, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=int, default=12)
    arguments = parse_arguments(parser, name="serve_clock")
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_stage(Path(folder) / "null") as stage,
        stage.talk(sample_rate=SOUND_RATE) as session,
    ):
        talk = LongTalk(stage, session, hours=arguments.hours)
        tails: list[list[bytes]] = []  # read at the end alone, as reading takes memory too
        hours = [*serve_hours(talk, session, tails=tails)]
    delays = talk.first_ms
    warm = hours[min(1, len(hours) - 1)]
    results = {
        "hours": len(hours),
        "real_seconds": round(time.monotonic() - begun, 1),
        "rss_growth": round(hours[-1]["rss"] / warm["rss"] - 1, 4),
        "objects_growth": hours[-1]["objects"] - warm["objects"],
        "first_sound_ms_spread": round(max(delays) - min(delays), 3),
        "late_frames": session.statistics.late_frames,
        "apart_ms": [measure_apart(tails[0] + tails[place]) for place in (1, -1)],
        "by_hour": hours,
    }
    write_results(arguments.output, results)


def serve_hours(
    talk: LongTalk, session: LiveSession, *, tails: list[list[bytes]]
) -> Iterator[dict[str, Any]]:
    """Each hour's figures; its last fragments go to ``tails``, after the head of all."""
    audience = Audience(most_viewers=2, most_waiting=4 * LAG)
    side = session.next_frame()
    assert side is not None
    height, width = side.picture.shape[:2]
    served = ServedSession(
        SessionIdentity("clock", "nobody", "null"),
        talk,  # type: ignore[arg-type]
        audience,
        size=(width, height),
        log=ServeLog(io.StringIO()),
        figures=ServeFigures(),
    )
    served.start()
    reader = Reader(audience)
    talk.viewer = reader.viewer
    for hour in range(talk.hours):
        talk.reached.wait()
        talk.reached.clear()
        time.sleep(0.5)  # what waits is taken
        gc.collect()
        if not tails and audience.head is not None:
            tails.append([audience.head])
        found = {
            "rss": measure_resident(),
            "objects": len(gc.get_objects()),
            "frames": session.statistics.frames,
            "viewers_cut": audience.cut,
        }
        tails.append(list(reader.newest))
        sys.stdout.write(f"hour {hour + 1}: {found}\n")
        sys.stdout.flush()
        yield found
        talk.go.set()


def measure_apart(fragments: list[bytes]) -> float:
    """Milliseconds by which the sound's last packet ends before the picture's last frame."""
    ends = TrackEnds()
    for fragment in fragments:
        ends.take(fragment)
    offset = ends.find_offset()
    if offset is None:
        raise SystemExit("one of the tracks never began")
    return round(-1000 * offset, 1)


if __name__ == "__main__":
    main()
