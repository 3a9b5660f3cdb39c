"""Option types and progress that more than one command uses."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.cli.options import ProgressLine, RateType, SizeType
from echoexport.runtime.errors import SettingError


def test_a_terminal_shows_a_bar_with_rate_and_time_left(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    make_voice: Any,
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    arguments = (
        "run",
        null_bundle,
        "-p",
        portrait_file,
        "-v",
        make_voice(seconds=4),
        "-o",
        portrait_file.parent / "f",
    )
    process = start_command(*arguments, "--backend", "null", stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours)
    assert process.wait(timeout=60) == 0
    process.communicate()
    assert "sampling: 100%" in shown and "call/s" in shown
    assert "decoding: 100%" in shown and "frame/s" in shown
    assert "<00:00" in shown  # time left


def read_terminal(number: int) -> str:
    parts = []
    try:
        while part := os.read(number, 4096):
            parts.append(part)
    except OSError:  # how a terminal says that the other side has closed it
        pass
    os.close(number)
    return b"".join(parts).decode()


def test_a_log_gets_plain_lines_and_few(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("frame") as progress:
        for done in range(1, 501):
            progress("sampling", done, 500)
        progress("decoding", 1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "sampling 1/500",
        "sampling 500/500",
        "decoding 1/1",
    ]


@given(st.integers(0, 999_999), st.integers(0, 999_999))
def test_a_size_is_two_numbers(width: int, height: int) -> None:
    assert SizeType().convert(f"{width}x{height}", None, None) == (width, height)
    assert SizeType().convert(f"{width}X{height}", None, None) == (width, height)
    assert SizeType().convert(str(width), None, None) == (width, width)


@pytest.mark.parametrize(
    "text", ["", "x", "256x", "x256", "1x2x3", "-8x8", "8.5", "256*256", "²", "9" * 5000]
)
def test_a_size_that_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingError, match="256x256") as caught:
        SizeType().convert(text, None, None)
    assert f"--size {text}:" in str(caught.value)


@given(st.fractions(min_value=Fraction(1, 100), max_value=1000, max_denominator=10**9))
def test_a_rate_keeps_its_exact_value(rate: Fraction) -> None:
    assert RateType().convert(str(rate), None, None) == rate


@pytest.mark.parametrize(
    "text", ["", "fast", "nan", "inf", "1/0", "0", "-24", "1001", "1e999999999", "9" * 5000]
)
def test_a_rate_that_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingError, match="30000/1001") as caught:
        RateType().convert(text, None, None)
    assert f"--fps {text}:" in str(caught.value)
