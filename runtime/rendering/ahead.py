"""Making things in a thread while they are used.

The sampler runs ahead of the decoder, so that no core waits.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from echoexport.runtime.trace.tracer import NULL, Tracer

ItemT = TypeVar("ItemT")


def run_ahead(
    items: Iterable[ItemT], *, most: int, name: str = "ahead", tracer: Tracer = NULL
) -> Generator[ItemT, None, None]:
    """The items, made by a thread of their own up to ``most`` ahead of their use.

    An error in the making is raised where the item would have come. Left early, the
    iteration ends the thread after the item that it is at. An interrupt may come at any
    moment of it. A tracer sees both sides wait; ``name`` is the thread's track.
    """
    maker = _Maker(items, most=most, name=name, tracer=tracer)
    try:
        maker.start()
        yield from maker.take()
    finally:
        maker.finish()


class _Maker(Generic[ItemT]):
    """Makes one item for each permit; gives (item, error), and (None, None) at the end.

    All that passes between the threads goes through ``SimpleQueue``, and the thread is
    a bare one: an interrupt between the lines of ``queue.Queue``, ``Event`` or
    ``Thread.start`` leaves a lock of theirs taken, or given back twice, and the other
    side waits for it for ever.
    """

    def __init__(self, items: Iterable[ItemT], *, most: int, name: str, tracer: Tracer) -> None:
        self._items = items
        self._name = name
        self._tracer = tracer
        self._made: SimpleQueue[tuple[ItemT | None, BaseException | None]] = SimpleQueue()
        self._permits: SimpleQueue[None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._begun = False
        self._over = False
        for _ in range(most):
            self._permits.put(None)

    def start(self) -> None:
        """Begin to make."""
        _thread.start_new_thread(self._make, ())
        self._begun = True

    def take(self) -> Iterator[ItemT]:
        """The items, in their order."""
        while True:
            with self._tracer.span(f"for {self._name}", "wait"):
                item, error = self._made.get()
            if error is not None:
                raise error
            if item is None:
                return
            self._permits.put(None)
            yield item

    def finish(self) -> None:
        """End the thread."""
        self._over = True  # whatever permits are left
        self._permits.put(None)
        # when Python itself ends, threads like this one are stopped where they stand
        # and cannot be waited for
        if self._begun and not sys.is_finalizing():
            self._ended.get()

    def _make(self) -> None:
        """Make until the end, an error, or nobody wants more."""
        try:
            self._tracer.name_track(self._name)
            items = iter(self._items)
            while True:
                with self._tracer.span("for room", "wait"):
                    self._permits.get()
                if self._over:
                    return
                try:
                    item = next(items)
                except StopIteration:
                    break
                self._made.put((item, None))
            self._made.put((None, None))
        # an interrupt raised by a callback too must reach whoever waits
        except BaseException as error:
            self._made.put((None, error))
        finally:
            self._ended.put(None)
