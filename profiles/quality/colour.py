"""Colours as people see them: sRGB to CIE Lab, and the CIEDE2000 difference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ciede2000", "rgb_to_lab"]

_Floats = NDArray[np.floating[Any]]
"""float32 or float64; what is computed from them keeps their precision."""

# IEC 61966-2-1: linear light of each of the 256 levels, and the primaries in XYZ (D65),
# each row over its white.
_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_TO_WHITE = (_XYZ / _XYZ.sum(axis=1, keepdims=True)).astype(np.float32)
# CIE 15: below, the cube root is a line
_DARK = (6 / 29) ** 3
_SLOPE = (29 / 6) ** 2 / 3


def rgb_to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(..., 3) sRGB levels to (..., 3) L*, a*, b* under D65, float32.

    Formula: CIE 15:2004, 8.2.1.
    """
    ratios = _LINEAR[rgb] @ _TO_WHITE.T
    roots = np.where(
        ratios > _DARK, np.cbrt(ratios), np.float32(_SLOPE) * ratios + np.float32(4 / 29)
    )
    x = roots[..., 0]
    y = roots[..., 1]
    z = roots[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(one: _Floats, other: _Floats) -> _Floats:
    """The CIEDE2000 difference (...) of Lab colours (..., 3), broadcast.

    A difference of about 1 is just seen. Formula: G. Sharma, W. Wu, E. N. Dalal, "The
    CIEDE2000 color-difference formula", Color Research & Application 30 (2005),
    equations 2 to 22, with the three weights at 1.
    """
    chroma = (_length(one[..., 1], one[..., 2]) + _length(other[..., 1], other[..., 2])) / 2
    stretch = 1 + (1 - _rise_with_chroma(chroma)) / 2
    a1 = one[..., 1] * stretch
    a2 = other[..., 1] * stretch
    c1 = _length(a1, one[..., 2])
    c2 = _length(a2, other[..., 2])
    h1 = np.arctan2(one[..., 2], a1)
    h2 = np.arctan2(other[..., 2], a2)
    turn, hue = _compare_hues(h1, h2, coloured=c1 * c2 > 0)
    mean = (c1 + c2) / 2
    lightness = _weigh_lightness(one[..., 0], other[..., 0])
    colour = (c2 - c1) / (1 + 0.045 * mean)
    hues = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * mean * _weigh_hue(hue))
    degrees = np.degrees(hue)
    bend = (
        np.sin(np.radians(60 * np.exp(-(((degrees - 275) / 25) ** 2))))
        * 2
        * _rise_with_chroma(mean)
    )
    squares = lightness**2 + colour**2 + hues**2 - bend * colour * hues
    distance: _Floats = np.sqrt(np.maximum(squares, 0))
    return distance


def _length(a: _Floats, b: _Floats) -> _Floats:
    """``np.hypot`` guards against overflow, which colours never come near, and is slow for it."""
    length: _Floats = np.sqrt(a * a + b * b)
    return length


def _rise_with_chroma(chroma: _Floats) -> _Floats:
    """From 0 for greys to 1 for strong colours: equations 4 and 17."""
    square = chroma * chroma
    power = square * square * square * chroma
    rise: _Floats = np.sqrt(power / (power + 25.0**7))
    return rise


def _weigh_lightness(one: _Floats, other: _Floats) -> _Floats:
    """The difference in lightness over its weight, equations 8 and 15."""
    square = ((one + other) / 2 - 50) ** 2
    weighed: _Floats = (other - one) / (1 + 0.015 * square / np.sqrt(20 + square))
    return weighed


def _compare_hues(
    one: _Floats, other: _Floats, *, coloured: NDArray[np.bool_]
) -> tuple[_Floats, _Floats]:
    """The turn from one hue to the other, and their mean in [0, 2 pi).

    Both go along the shorter way: equations 7, 10 and 14.
    """
    one = np.where(one < 0, one + 2 * np.pi, one)
    other = np.where(other < 0, other + 2 * np.pi, other)
    turn = other - one
    total = one + other
    far = np.abs(turn) > np.pi
    shorter = np.where(far, turn - np.copysign(2 * np.pi, turn).astype(turn.dtype), turn)
    mean = np.where(
        far,
        (total + np.where(total < 2 * np.pi, 2 * np.pi, -2 * np.pi).astype(turn.dtype)) / 2,
        total / 2,
    )
    return np.where(coloured, shorter, 0), np.where(coloured, mean, total)


def _weigh_hue(hue: _Floats) -> _Floats:
    """Equation 15: how the sensitivity to hue differs around the circle.

    The constants are degrees.
    """
    weight: _Floats = (
        1
        - 0.17 * np.cos(hue - np.pi / 6)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.pi / 30)
        - 0.20 * np.cos(4 * hue - 0.35 * np.pi)
    )
    return weight
