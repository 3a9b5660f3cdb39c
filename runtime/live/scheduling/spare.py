"""Time that live sessions leave: calls that run on their workers where nobody waits for those."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

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
        turn = _Turn(call)
        self._workers.submit_spare(turn.work, done=self._note)
        while not turn.wait(_ASKED):
            if (self._is_stopped() or self._workers.closed) and turn.take_back():
                if self._is_stopped():
                    raise SpareStoppedError
                raise BackendError("the engines' workers have ended; nothing is rendered with them")
        return turn.result()

    def _note(self, seconds: float) -> None:
        self._costs.tell(SPARE, seconds)


class _Turn(Generic[ResultT]):
    """One call, from its asking to its end."""

    def __init__(self, call: Callable[[], ResultT]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._begun = False
        self._over = threading.Event()
        self._result: list[ResultT] = []
        self._error: BaseException | None = None

    def work(self) -> None:
        """In a worker; raises nothing."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
        try:
            self._result.append(self._call())
        except BaseException as error:  # it is raised where it was asked for
            self._error = error
        finally:
            self._over.set()

    def wait(self, seconds: float) -> bool:
        """Whether it is over by then."""
        return self._over.wait(seconds)

    def take_back(self) -> bool:
        """Whether it had not begun, and now never does."""
        with self._lock:
            taken = not self._begun
            self._begun = True
            return taken

    def result(self) -> ResultT:
        """What came of it."""
        if self._error is not None:
            raise self._error
        return self._result[0]
