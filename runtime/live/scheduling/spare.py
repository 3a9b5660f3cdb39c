"""Time that live sessions leave: calls that run on their workers where nobody waits for those."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.scheduling.costs import Costs
from echoexport.runtime.live.scheduling.workers import SPARE, Workers

ResultT = TypeVar("ResultT")

_ASKED = 0.1  # seconds between two looks whether it is still wanted


class SpareStoppedError(Exception):
    """Raised in the one whose offline work is wanted no more."""


class SpareTime:
    """Runs one call after another for offline work; any thread may ask."""

    def __init__(self, workers: Workers, costs: Costs, *, is_stopped: Callable[[], bool]) -> None:
        """``is_stopped`` says whether the work is wanted no more."""
        self._workers = workers
        self._costs = costs
        self._is_stopped = is_stopped

    def run(self, call: Callable[[], ResultT]) -> ResultT:
        """What ``call`` gives, which a worker calls once live sessions leave it time.

        Raises:
            SpareStoppedError: it is wanted no more; the call was not made.
            BackendError: the workers have ended.
            Whatever the call raises.
        """
        future: Future[ResultT] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call())
            except BaseException as error:  # it is raised where it was asked for
                future.set_exception(error)

        def note(seconds: float) -> None:
            if not future.cancelled():
                self._costs.tell(SPARE, seconds)

        self._workers.submit_spare(work, done=note)
        while not wait([future], _ASKED).done:
            if (self._is_stopped() or self._workers.closed) and future.cancel():
                if self._is_stopped():
                    raise SpareStoppedError
                raise BackendError("the engines' workers have ended; nothing is rendered with them")
        return future.result()
