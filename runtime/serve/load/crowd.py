"""Many clients at once, or as many as the server lets in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from echoexport.runtime.errors import CapacityError
from echoexport.runtime.serve.load.stream import LoadStream, LoadTarget, StreamLog

MOST_STREAMS = 256
_SETTLED = 1.0  # seconds that sessions speak before one more is asked for


@dataclass(frozen=True)
class CrowdLog:
    """What all of them saw."""

    streams: tuple[StreamLog, ...]
    """Of those that were let in."""
    refused_at: int | None
    """The number of the first session that the server refused, 1 for the very first."""
    reason: str
    """Its words; "" where it refused none."""


def measure_crowd(
    target: LoadTarget,
    *,
    streams: int | None,
    duration: float,
    tell: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> CrowdLog:
    """:func:`run_crowd` from its begin to its end, in a loop of its own."""
    return asyncio.run(run_crowd(target, streams=streams, duration=duration, tell=tell))


async def run_crowd(
    target: LoadTarget,
    *,
    streams: int | None,
    duration: float,
    tell: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> CrowdLog:
    """Open sessions one after another, then let all of them speak for so many seconds.

    ``streams`` None opens more and more, while those that are there speak, until the
    server refuses one. ``tell`` is told "opening" and "speaking".

    Raises:
        CapacityError: the very first is refused.
        InputError, SettingError: see :meth:`LoadStream.open`.
    """
    wanted = MOST_STREAMS if streams is None else streams
    opened: list[LoadStream] = []
    warming: list[asyncio.Task[None]] = []
    refused_at, reason = None, ""
    try:
        while len(opened) < wanted:
            stream = LoadStream(target, len(opened))
            opened.append(stream)
            try:
                await stream.open()
            except CapacityError as error:
                opened.pop()
                if not opened:
                    raise
                refused_at, reason = len(opened) + 1, str(error)
                break
            tell("opening", len(opened), wanted)
            # A client that takes nothing is cut; so each watches from its first moment.
            warming.append(asyncio.create_task(stream.run(monotonic() + 86_400)))
            if streams is None:
                await asyncio.sleep(_SETTLED)
        await _end(warming)
        logs = await _speak(opened, duration, tell)
        return CrowdLog(tuple(logs), refused_at, reason)
    finally:
        await _end(warming)
        await asyncio.gather(*(stream.close() for stream in opened), return_exceptions=True)


async def _speak(
    opened: list[LoadStream], duration: float, tell: Callable[[str, int, int], None]
) -> list[StreamLog]:
    """The time that is measured."""
    for stream in opened:
        stream.begin_anew()
    begun = monotonic()
    speaking = [asyncio.create_task(stream.run(begun + duration)) for stream in opened]
    try:
        while any(not task.done() for task in speaking):
            tell("speaking", round(monotonic() - begun), round(duration))
            await asyncio.wait(speaking, timeout=1.0)
        await asyncio.gather(*speaking)
    finally:
        await _end(speaking)
    return [stream.log for stream in opened]


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    tasks.clear()
