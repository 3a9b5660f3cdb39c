"""Fixtures of the tracer's tests: a clock moved by hand."""

from __future__ import annotations

import pytest


class HandClock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture(scope="session")
def make_clock() -> type[HandClock]:
    """A function that gives a clock at 100 s, whose ``time`` is set by hand."""
    return HandClock
