"""Option types and progress that more than one command uses."""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from echoexport.runtime.backends import list_backends
from echoexport.runtime.errors import SettingError

FILE = click.Path(path_type=Path)


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """``WxH`` in pixels, or one number for a square."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """(width, height)."""
        if isinstance(value, tuple):
            return value
        sides = str(value).lower().split("x")
        if len(sides) > 2 or not all(side.isdigit() for side in sides):
            raise SettingError(f"--size {value}: WIDTHxHEIGHT in pixels is wanted, e.g. 256x256")
        return int(sides[0]), int(sides[-1])


class RateType(click.ParamType):  # type: ignore[type-arg]
    """Frames a second: 24, 29.97 or 30000/1001."""

    name = "FPS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """An exact fraction."""
        try:
            return value if isinstance(value, Fraction) else Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            raise SettingError(f"--fps {value}: a number is wanted, e.g. 24, 29.97 or 30000/1001") from None


backend_option = click.option(
    "--backend",
    metavar="NAME",
    help=f"Engine library: {', '.join(list_backends())}. Default: the bundle's first that works here.",
)


class ProgressLine:
    """A bar with rate and time left on a terminal; plain lines, at most one every few seconds, in a log."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: Any = None
        self._phase = ""
        self._last = 0.0
        self._live = sys.stderr.isatty()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Say how far a phase has come."""
        if self._live:
            self._draw(phase, done, total)
        elif phase != self._phase or done == total or time.monotonic() - self._last > 5:
            click.echo(f"{phase} {done}/{total}", err=True)
            self._last = time.monotonic()
        self._phase = phase

    def _draw(self, phase: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or (phase != self._phase and self._bar.total != total):
            self._close()
            self._bar = tqdm(total=total, unit=self._unit, file=sys.stderr, dynamic_ncols=True)
        if phase != self._phase:
            self._bar.set_description(phase)
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
