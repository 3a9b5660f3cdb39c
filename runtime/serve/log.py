"""What the server writes down: one JSON object a line, without picture, sound or token."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from typing import Any, TextIO


class ServeLog:
    """Writes lines; any thread may."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """To ``stream``, or to what stderr is when a line is written."""
        self._stream = stream
        self._lock = threading.Lock()

    def tell(self, event: str, **facts: Any) -> None:
        """Something happened; ``facts`` are numbers and short words."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = json.dumps({"time": stamp, "event": event, **facts}, default=str)
        stream = self._stream or sys.stderr
        with self._lock:
            try:
                stream.write(line + "\n")
                stream.flush()
            except (OSError, ValueError):  # nobody reads it any more; the server goes on
                return

    def fail(self, event: str, error: BaseException, **facts: Any) -> None:
        """Something failed that should not: with its traceback, which no client sees."""
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.tell(event, error=repr(error), trace=trace, **facts)


def shorten(identity: str) -> str:
    """A session's id as the log has it: enough to tell it from others, not to use it."""
    return identity[:8]
