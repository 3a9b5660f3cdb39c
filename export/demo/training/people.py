"""Many drawn people at once, by several processes.

Nothing here needs torch, which each of the processes would have to import.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.world.person import draw_person, stack_people

_LEAST_SEEDS_TO_SHARE = 2000  # below, more processes cost more than they save
_SHARE = 500


def gather_people(
    seeds: range, *, workers: int, report: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """The people of these seeds as (n, P), drawn by ``workers`` processes.

    ``report`` is told (drawn, all) now and then; what it raises ends the drawing.
    """
    shares = [seeds[start : start + _SHARE] for start in range(0, len(seeds), _SHARE)]
    if len(seeds) < _LEAST_SEEDS_TO_SHARE or workers < 2:
        return np.concatenate(list(_follow(map(_draw_share, shares), len(seeds), report)))
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, initializer=_leave_interrupts_to_parent)
    try:
        return np.concatenate(list(_follow(pool.map(_draw_share, shares), len(seeds), report)))
    finally:
        pool.shutdown(cancel_futures=True)


def _follow(
    shares: Iterable[NDArray[np.float32]], total: int, report: Callable[[int, int], None]
) -> Iterator[NDArray[np.float32]]:
    drawn = 0
    for share in shares:
        yield share
        drawn += len(share)
        report(drawn, total)


def _draw_share(seeds: range) -> NDArray[np.float32]:
    return stack_people([draw_person(seed) for seed in seeds])


def _leave_interrupts_to_parent() -> None:
    """A terminal's Ctrl-C reaches every process of the command; the parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
