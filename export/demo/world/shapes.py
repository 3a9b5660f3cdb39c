"""Distances to simple shapes and the share of a pixel they cover, in numpy or torch.

Distances are negative inside. Only functions that both libraries spell the same are
used; plain numbers go through ``clip``, never through ``maximum``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = [
    "Array",
    "Canvas",
    "band",
    "cover",
    "ellipse",
    "fall_off",
    "namespace_of",
    "slot",
    "smoothstep",
]

Array = Any
"""A float32 numpy array or torch tensor."""


def namespace_of(array: Array) -> Any:
    """The module whose functions take ``array``: torch for its tensors, else numpy."""
    return sys.modules["torch"] if type(array).__module__.partition(".")[0] == "torch" else np


def cover(distance: Array, pixel: Array) -> Array:
    """The share of each pixel inside a shape, from its middle's distance and its side."""
    return (0.5 - distance / pixel).clip(0.0, 1.0)


def band(y: Array, top: Array, bottom: Array, *, footprint: Array) -> Array:
    """The share of pixels of height ``footprint`` about ``y`` between two curves.

    It is 0 where the curves meet.
    """
    xp = namespace_of(y)
    half = 0.5 * footprint
    return ((xp.minimum(bottom, y + half) - xp.maximum(top, y - half)) / footprint).clip(0.0, 1.0)


def ellipse(x: Array, y: Array, width: Array, height: Array) -> Array:
    """Distance to an ellipse of two radii, exact to first order near its edge."""
    xp = namespace_of(x)
    u = x / width
    v = y / height
    size = xp.sqrt(u * u + v * v + 1e-8)
    return size * (size - 1.0) / xp.sqrt((u / width) ** 2 + (v / height) ** 2 + 1e-6)


def slot(x: Array, y: Array, width: Array, height: Array, *, corner: Array) -> Array:
    """Distance to a rectangle of two half sides with round corners."""
    u = abs(x) - width + corner
    v = abs(y) - height + corner
    xp = namespace_of(u)
    outside = xp.hypot(u.clip(0.0, None), v.clip(0.0, None))
    return outside + xp.maximum(u, v).clip(None, 0.0) - corner


def smoothstep(value: Array) -> Array:
    """0 below 0, 1 above 1, and a smooth rise between."""
    value = value.clip(0.0, 1.0)
    return value * value * (3.0 - 2.0 * value)


def fall_off(x: Array, y: Array, *, width: Array, height: Array) -> Array:
    """A soft spot: 1 in the middle, 0.37 at the two radii."""
    return namespace_of(x).exp(-((x / width) ** 2) - (y / height) ** 2)


class Canvas:
    """A picture (n,3,H,W) that is painted over, layer by layer."""

    def __init__(self, ground: Array) -> None:
        self.picture = ground

    def paint(self, share: Array, colour: Array) -> None:
        """Lay a colour, (n,3,1,1) or (n,3,H,W), over the picture with opacity ``share`` (n,H,W)."""
        change = colour - self.picture
        change *= share[:, None]  # in place: a third of the memory traffic is a third of the time
        self.picture += change

    def shade(self, share: Array, factor: float) -> None:
        """Multiply the picture by ``factor`` where ``share`` (n,H,W) is 1."""
        self.picture *= 1.0 + share[:, None] * (factor - 1.0)
