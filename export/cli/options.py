"""Option types and progress that more than one command uses."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from echoexport.runtime.backends import list_backends
from echoexport.runtime.errors import SettingError

if TYPE_CHECKING:
    from echoexport.runtime.bundle.opened import Bundle

FILE = click.Path(path_type=Path)


def spell_voice(name: str) -> str:
    """The option's name for its older ones: ``--audio`` and ``-a`` are ``--voice`` and ``-v``."""
    return {"audio": "voice", "voices": "voice", "a": "v"}.get(name, name)


class CountType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A number from 1 on, or auto."""

    def __init__(self, name: str, *, most: int) -> None:
        self.name = name
        self._most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """None for auto."""
        if value is None or value == "auto":
            return None
        text = str(value)
        if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= self._most:
            self.fail(f"{value!r} is neither a number from 1 to {self._most} nor auto", param, ctx)
        return int(text)


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """``WxH`` in pixels, or one number for a square."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """(width, height)."""
        if isinstance(value, tuple):
            return value
        sides = re.fullmatch(r"([0-9]{1,6})(?:[xX]([0-9]{1,6}))?", str(value))
        if sides is None:
            raise SettingError(f"--size {value}: WIDTHxHEIGHT in pixels is wanted, e.g. 256x256")
        return int(sides[1]), int(sides[2] or sides[1])


class RateType(click.ParamType):  # type: ignore[type-arg]
    """Frames a second: 24, 29.97 or 30000/1001."""

    name = "FPS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Fraction:
        """An exact fraction."""
        if isinstance(value, Fraction):
            return value
        try:  # no exponents: 1e999999999 would keep Fraction busy for hours
            rate = Fraction(value if re.fullmatch(r"-?[0-9./]{1,40}", value) else "")
        except (ValueError, ZeroDivisionError):
            raise SettingError(
                f"--fps {value}: a number is wanted, e.g. 24, 29.97 or 30000/1001"
            ) from None
        if not 0 < rate <= 1000:
            raise SettingError(
                f"--fps {value}: above 0 and up to 1000 is wanted, e.g. 24, 29.97 or 30000/1001"
            )
        return rate


backend_option = click.option(
    "--backend",
    metavar="NAME",
    help=f"Engine library: {', '.join(list_backends())}. Default: the bundle's first that works "
    "here.",
)


portrait_option = click.option(
    "--portrait", "-p", required=True, type=FILE, metavar="FILE", help="A picture of one face."
)


face_box_option = click.option(
    "--face-box", metavar="X0,Y0,X1,Y1", help="The face in the portrait's pixels, forehead to chin."
)


face_model_option = click.option(
    "--face-model",
    type=FILE,
    metavar="FILE",
    help="MediaPipe face detector (.tflite or .task) to find the face with.",
)


cache_option = click.option(
    "--cache",
    "cache_folder",
    type=FILE,
    metavar="DIR",
    help="Where portraits' references and compiled engines are kept. Default: the user's cache "
    "folder.",
)


no_cache_option = click.option(
    "--no-cache",
    is_flag=True,
    help="Compute the reference and compile engines anew, and keep nothing.",
)


compute_option = click.option(
    "--compute",
    default="",
    metavar="NAME",
    help="Arithmetic in the engine: fp32, or bf16 where OpenVINO's CPU has it. Default: the "
    "bundle's own choice for each network, or fp32 where this machine lacks it.",
)


def _has_room() -> bool:
    """Whether stderr is a terminal that a bar fits.

    Some pseudo-terminals say that they are 0 columns wide.
    """
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    # A file or a pipe; closed; replaced by something that is no file.
    except (
        OSError,
        ValueError,
        AttributeError,
    ):
        return False


def require_reports(
    reports: Mapping[str, Path | None],
    *,
    others: Mapping[str, Path | None],
    bundles: Iterable[Path] = (),
) -> None:
    """Refuse, before the long work, reports that could not be written where they are to go.

    Nor may one take another file's place.

    reports, others: option or argument to its file; None for one that was not given.
    ``others`` are what is read, and the output. bundles: no file but their own belongs
    into them.

    Raises:
        OutputError: a folder or device is there, or the folder is missing or must not
            be written to. SettingError: a report has another's name, or lies within a
            bundle.
    """
    from echoexport.runtime.files.aside import require_writable

    taken = {os.path.realpath(path): name for name, path in others.items() if path is not None}
    for option, path in reports.items():
        if path is None:
            continue
        require_writable(path)
        place = Path(os.path.realpath(path))
        if str(place) in taken:
            raise SettingError(
                f"{option} {path}: is {taken[str(place)]} too, and would be overwritten; name "
                "another file"
            )
        for bundle in bundles:
            require_outside(option, path, bundle)
        taken[str(place)] = option


def require_outside(option: str, path: Path, bundle: Path) -> None:
    """Refuse to write into a bundle, which consists of its own files.

    Raises:
        SettingError: the path is the bundle or lies within it.
    """
    place = Path(os.path.realpath(path))
    folder = Path(os.path.realpath(bundle))
    if folder in (place, *place.parents):
        raise SettingError(
            f"{option} {path}: lies within bundle {bundle}, which would not verify; name "
            "another place"
        )


def warn(message: str) -> None:
    """One line on stderr."""
    click.echo(f"echoexport: warning: {message}", err=True)


def warn_of_fallback(bundle: Bundle, *, asked: str | None = None) -> None:
    """Say so where the bundle's own choice of backend or arithmetic does not work on this machine.

    ``asked`` is the backend that the user named, who then needs not be told.
    """
    from echoexport.runtime.bundle.choice import describe_backend_fallback

    slower = None if asked else describe_backend_fallback(bundle.manifest, bundle.backend)
    for line in (slower, bundle.missing_arithmetic()):
        if line is not None:
            warn(line)


def warn_of_notes(notes: Iterable[str]) -> None:
    """Say what did not run as it should in the networks that were used."""
    for note in notes:
        warn(note)


class ProgressLine:
    """A bar with rate and time left on a terminal.

    Plain lines, at most one every few seconds, in a log.

    unit: what is counted; units: the same for phases that count something else.
    """

    def __init__(self, unit: str, units: Mapping[str, str] | None = None) -> None:
        self._unit = unit
        self._units = units or {}
        self._bar: Any = None
        self._phase = ""
        self._last = 0.0
        self._live = _has_room()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """Say how far a phase has come; ``total`` None where nobody knows its end."""
        if self._live:
            self._draw(phase, done, total)
        elif phase != self._phase or done == total or time.monotonic() - self._last > 5:
            click.echo(f"{phase} {done}" + (f"/{total}" if total else ""), err=True)
            self._last = time.monotonic()
        self._phase = phase

    def _draw(self, phase: str, done: int, total: int | None) -> None:
        from tqdm import tqdm

        unit = self._units.get(phase, self._unit)
        if self._bar is None or (self._bar.unit, self._bar.total) != (unit, total):
            self._close()
            self._bar = tqdm(
                total=total, unit=unit, desc=phase, file=sys.stderr, dynamic_ncols=True
            )
        elif phase != self._phase:
            self._bar.set_description(phase)
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
