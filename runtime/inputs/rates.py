"""Frame rates as fractions, and how many frames cover a voice."""

from __future__ import annotations

import math
from fractions import Fraction

from echoexport.runtime.errors import SettingError

Rate = int | float | Fraction
"""Frames per second."""


def covering_frame_count(duration: Fraction, fps: Rate) -> int:
    """The fewest frames that cover ``duration`` seconds: ceil(duration * fps), without rounding."""
    return math.ceil(duration * exact_rate(fps))


def exact_rate(fps: Rate) -> Fraction:
    """Frames per second as a fraction.

    29.97 is 2997/100, 30000 / 1001 as a float is 30000/1001 again.

    Raises ``SettingError`` unless 0 < fps <= 1000.
    """
    if not isinstance(fps, int | float | Fraction) or isinstance(fps, bool) or not 0 < fps <= 1000:
        raise SettingError(f"fps {fps!r}: a number above 0 and up to 1000 is wanted, e.g. 24")
    # Every rate in use has a denominator of at most 1001; a float is the nearest such
    # fraction.
    rate = Fraction(fps) if not isinstance(fps, float) else Fraction(fps).limit_denominator(1001)
    if not rate:
        raise SettingError(f"fps {fps!r}: too slow; at least 1/1001 is wanted")
    return rate
