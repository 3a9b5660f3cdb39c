"""Making things in a thread while they are used: the sampler runs ahead of the decoder, so that no core waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE = 0.1  # seconds between looks at whether anybody still wants what is made


def run_ahead(items: Iterable[T], *, most: int) -> Iterator[T]:
    """The items, made by a thread of their own up to ``most`` ahead of their use.

    An error in the making is raised where the item would have come. Left early, the iteration ends the thread after
    the item that it is at.
    """
    maker = _Maker(items, most=most)
    maker.start()
    try:
        yield from maker.take()
    finally:
        maker.finish()


class _Maker(threading.Thread, Generic[T]):
    """Fills a queue of (item, error); (None, None) is the end."""

    def __init__(self, items: Iterable[T], *, most: int) -> None:
        super().__init__(name="echoexport-ahead", daemon=True)
        self._items = items
        self._made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(most)
        self._over = threading.Event()

    def run(self) -> None:
        """Make until the end, an error, or nobody wants more."""
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
            self._put((None, None))
        except BaseException as error:  # an interrupt raised by a callback too must reach whoever waits
            self._put((None, error))

    def take(self) -> Iterator[T]:
        """The items, in their order."""
        while True:
            item, error = self._made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def finish(self) -> None:
        """End the thread."""
        self._over.set()
        self.join()

    def _put(self, made: tuple[T | None, BaseException | None]) -> bool:
        while not self._over.is_set():
            try:
                self._made.put(made, timeout=_PATIENCE)
            except queue.Full:
                continue
            return True
        return False
