"""Colours that go together: skin with its lips and shadows, hair, eyes, clothes and background."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

__all__ = ["draw_colours", "mix"]

_Colour = tuple[float, float, float]

SKINS = (
    "fbe0cf",
    "f6d3b8",
    "f0c5a3",
    "e8b78f",
    "dca57c",
    "cc9167",
    "b57a52",
    "98623f",
    "7c4d31",
    "5f3a27",
)
HAIRS = (
    "1f1a1d",
    "2f2320",
    "4a3022",
    "6b4327",
    "8c5a2e",
    "b98445",
    "d9b36c",
    "a4472c",
    "c8643a",
    "8d8f96",
    "d8d6d2",
    "3a2b45",
    "27404f",
)
IRISES = ("4b2e1e", "6b4423", "8a6a3a", "5c7a45", "4a7a86", "4c72a8", "6d7a88")
FRAMES = ("2a2730", "5a3424", "8a2f3a", "2f4a6b", "b08a4a")


def read_colour(code: str) -> _Colour:
    """``rrggbb`` as shares of 1."""
    red, green, blue = bytes.fromhex(code)
    return red / 255, green / 255, blue / 255


def mix(first: Sequence[float], second: Sequence[float], *, share: float) -> _Colour:
    """``share`` of the second colour in the first."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def draw_colours(lot: np.random.Generator) -> dict[str, float | Sequence[float]]:
    """All colours of a person but those of the hair style's parts."""
    skin, shade, depth = draw_skin(lot)
    hair = _vary(lot, _choose(lot, HAIRS), amount=0.03)
    hue = lot.uniform()
    lip = mix(skin, (0.74, 0.20, 0.27), share=lot.uniform(0.62, 0.84))
    return {
        "skin": skin,
        "shade": shade,
        "blush": mix(skin, (0.93, 0.35, 0.33), share=0.55),
        "blush_strength": lot.uniform(0.10, 0.55),
        "freckles": float(lot.uniform() < 0.18) * lot.uniform(0.4, 0.9) * (1 - 0.6 * depth),
        "lip": mix(lip, (0, 0, 0), share=0.22 * depth),
        "interior": _vary(lot, (0.20, 0.045, 0.07), amount=0.02),
        "tongue": _vary(lot, (0.80, 0.36, 0.38), amount=0.03),
        "teeth": _vary(lot, (0.96, 0.94, 0.90), amount=0.02),
        "iris": _vary(lot, _choose(lot, IRISES), amount=0.03),
        "hair": hair,
        "brow": mix(mix(hair, (0.12, 0.08, 0.07), share=0.45), skin, share=0.10),
        **_draw_surroundings(lot, hue=hue),
        "glasses_colour": _choose(lot, FRAMES),
    }


def draw_skin(lot: np.random.Generator) -> tuple[_Colour, _Colour, float]:
    """A skin colour, that of its shadows, and how dark it is from 0 to 1."""
    position = lot.uniform(0, len(SKINS) - 1.001)
    first = read_colour(SKINS[int(position)])
    second = read_colour(SKINS[int(position) + 1])
    skin = _vary(lot, mix(first, second, share=position % 1), amount=0.012)
    shade = mix(skin, (0.45, 0.13, 0.12), share=0.30)
    return skin, shade, position / (len(SKINS) - 1)


def _draw_surroundings(
    lot: np.random.Generator, *, hue: float
) -> dict[str, float | Sequence[float]]:
    """Background and clothes, apart in hue; the background light and muted, the clothes deeper."""
    light = lot.uniform(0.70, 0.92)
    dark = lot.uniform(0.28, 0.78)
    cloth_hue = hue + lot.uniform(0.25, 0.75)
    return {
        "backdrop": _of_hue(hue, saturation=lot.uniform(0.08, 0.28), value=light),
        "backdrop_end": _of_hue(
            hue + lot.uniform(-0.12, 0.12), saturation=lot.uniform(0.14, 0.38), value=light - 0.14
        ),
        "backdrop_angle": lot.uniform(0, 2 * np.pi),
        "disc": _of_hue(
            hue + lot.uniform(-0.2, 0.2),
            saturation=lot.uniform(0.08, 0.35),
            value=min(light + 0.1, 0.97),
        ),
        "disc_strength": float(lot.uniform() < 0.7) * lot.uniform(0.4, 0.8),
        "disc_x": lot.uniform(-0.1, 0.4),
        "disc_y": lot.uniform(0, 0.9),
        "disc_size": lot.uniform(0.12, 0.30),
        "disc2_x": lot.uniform(0.6, 1.1),
        "disc2_y": lot.uniform(0, 0.9),
        "disc2_size": lot.uniform(0.08, 0.26),
        "cloth": _of_hue(cloth_hue, saturation=lot.uniform(0.20, 0.62), value=dark),
        "trim": _of_hue(
            cloth_hue + lot.uniform(-0.1, 0.1), saturation=0.25, value=0.93 if dark < 0.6 else 0.40
        ),
    }


def _of_hue(hue: float, *, saturation: float, value: float) -> _Colour:
    return colorsys.hsv_to_rgb(hue % 1, saturation, value)


def _choose(lot: np.random.Generator, codes: Sequence[str]) -> _Colour:
    return read_colour(codes[int(lot.integers(len(codes)))])


def _vary(lot: np.random.Generator, colour: Sequence[float], *, amount: float) -> _Colour:
    red, green, blue = (
        float(np.clip(part + lot.uniform(-amount, amount), 0, 1)) for part in colour
    )
    return red, green, blue
