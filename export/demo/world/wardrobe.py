"""Hair styles, beards, glasses and clothes as numbers: a mixed batch needs no branches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["HAIR_STYLES", "draw_hair", "draw_outfit"]

Parts = dict[str, float | Sequence[float]]

NO_LENGTH = -0.05  # a bottom of the long hair at which nothing of it shows
# side, top, low, bottom, flare, hairline, drop, power, curl size, curl count, bun
HAIR_STYLES: dict[str, tuple[float, ...]] = {
    "bald": (0, 0, 0.05, NO_LENGTH, 0, -0.24, 0.1, 3, 0, 12, -0.03),
    "cropped": (0.004, 0.010, 0.08, NO_LENGTH, 0, -0.205, 0.17, 3.5, 0, 12, -0.03),
    "short": (0.012, 0.045, 0.08, NO_LENGTH, 0, -0.185, 0.19, 4.5, 0, 12, -0.03),
    "swept": (0.014, 0.070, 0.09, NO_LENGTH, 0, -0.185, 0.17, 4.0, 0, 12, -0.03),
    "bob": (0.045, 0.045, 0.20, 0.26, 0.010, -0.175, 0.46, 6, 0, 12, -0.03),
    "bob with fringe": (0.045, 0.045, 0.20, 0.25, 0.0, -0.125, 0.44, 10, 0, 12, -0.03),
    "long": (0.040, 0.045, 0.20, 0.52, 0.05, -0.200, 0.70, 5.5, 0, 12, -0.03),
    "long with fringe": (0.040, 0.045, 0.20, 0.50, 0.03, -0.125, 0.70, 10, 0, 12, -0.03),
    "bun": (0.010, 0.022, 0.08, NO_LENGTH, 0, -0.190, 0.17, 3.0, 0, 12, 0.085),
    "curly fringe": (0.040, 0.075, 0.13, NO_LENGTH, 0, -0.150, 0.17, 5, 0.012, 17, -0.03),
    "cloud": (0.095, 0.105, 0.24, NO_LENGTH, 0, -0.185, 0.20, 4, 0.007, 25, -0.03),
}
NAMES = (
    "hair_side",
    "hair_top",
    "hair_low",
    "hair_bottom",
    "hair_flare",
    "hairline",
    "hairline_drop",
    "hairline_power",
    "curl_size",
    "curl_count",
    "bun",
)
ONE_SIDED = {
    "short": 0.6,
    "swept": 1.0,
    "long": 0.5,
    "bob": 0.7,
}  # how strongly these may lean to one side
BEARDED = {"bald", "cropped", "short", "swept", "curly fringe"}


def draw_hair(lot: np.random.Generator, *, hair: float | Sequence[float]) -> Parts:
    """A hair style with its own variation, and a beard where one goes with it."""
    style = list(HAIR_STYLES)[int(lot.integers(len(HAIR_STYLES)))]
    parts: Parts = dict(zip(NAMES, HAIR_STYLES[style], strict=True))
    _vary(parts, lot)
    lean = ONE_SIDED.get(style, 0) * lot.choice((-1, 1)) * lot.uniform(0.3, 1)
    bearded = style in BEARDED and lot.uniform() < 0.45
    return {
        **parts,
        "hair_amount": float(style != "bald"),
        "part": 0.06 * lean,
        "slope": 0.07 * lean,
        "bun_x": lot.uniform(-0.03, 0.03),
        "bun_y": lot.uniform(-0.375, -0.345),
        "beard": lot.uniform(0.30, 0.95) if bearded else 0.0,
        "moustache": lot.uniform(0.5, 0.95) if bearded and lot.uniform() < 0.75 else 0.0,
    }


def _vary(parts: Parts, lot: np.random.Generator) -> None:
    """Two people of one style differ in volume, length and hair line."""
    for name in ("hair_side", "hair_top", "hairline_drop", "curl_size", "curl_count", "bun"):
        parts[name] = float(np.asarray(parts[name])) * lot.uniform(0.82, 1.2)
    parts["hairline"] = float(np.asarray(parts["hairline"])) + lot.uniform(-0.014, 0.012)
    if parts["hair_bottom"] != NO_LENGTH:
        parts["hair_bottom"] = float(np.asarray(parts["hair_bottom"])) + lot.uniform(-0.05, 0.06)


def draw_outfit(lot: np.random.Generator) -> Parts:
    """Glasses, earrings and the cut of the clothes."""
    pointed = float(lot.uniform() < 0.4)
    return {
        "glasses": float(lot.uniform() < 0.22),
        "glasses_round": lot.uniform(2.0, 4.5),
        "earring": float(lot.uniform() < 0.2),
        "neck_round": 1 - pointed,
        "neck_pointed": pointed,
        "stripes": float(lot.uniform() < 0.25) * lot.uniform(0.5, 0.9),
    }
