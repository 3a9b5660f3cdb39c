"""How a person is written down: the names, order and widths of the numbers in a parameter vector.

Lengths are shares of the picture's side before the person's ``scale``. Origins: the
head's middle between the temples for everything on the head, x to the right, y down.
Colours are RGB in [0,1].
"""

from __future__ import annotations

__all__ = ["FIELDS", "PERSON_WIDTH", "SLICES"]

FIELDS: tuple[tuple[str, int], ...] = (
    # framing and the person's own pose; roll in radians, yaw and pitch in [-1,1]
    ("centre_x", 1),
    ("centre_y", 1),
    ("scale", 1),
    ("roll", 1),
    ("yaw", 1),
    ("pitch", 1),
    # head: half width at the temples, height above and below the middle, 2 = ellipse,
    # narrowing to the chin
    ("head_width", 1),
    ("skull", 1),
    ("chin", 1),
    ("boxiness", 1),
    ("taper", 1),
    ("ear", 1),
    ("neck", 1),
    ("skin", 3),
    ("shade", 3),
    ("blush", 3),
    ("blush_strength", 1),
    ("freckles", 1),
    # mouth: height of its line, half width, most opening, lip thickness, dip of the
    # bow, corner lift
    ("mouth_y", 1),
    ("mouth_width", 1),
    ("mouth_range", 1),
    ("upper_lip", 1),
    ("lower_lip", 1),
    ("bow", 1),
    ("smile", 1),
    ("lip", 3),
    ("interior", 3),
    ("tongue", 3),
    ("teeth", 3),
    # eyes: distance from the middle, height, half width, half height, slant, iris
    # radius
    ("eye_x", 1),
    ("eye_y", 1),
    ("eye_width", 1),
    ("eye_height", 1),
    ("eye_slant", 1),
    ("iris_size", 1),
    ("iris", 3),
    ("lash", 1),
    ("brow_y", 1),
    ("brow_width", 1),
    ("brow_thickness", 1),
    ("brow_arch", 1),
    ("brow_slant", 1),
    ("brow", 3),
    ("nose_y", 1),
    ("nose_width", 1),
    ("nose_bridge", 1),
    # hair: present or not, growth beside, above and below the skull's middle, bottom of
    # the long part and how far it flares, the hair line at the forehead, how far and
    # how abruptly it falls at the sides, its shift and slope
    ("hair", 3),
    ("hair_amount", 1),
    ("hair_side", 1),
    ("hair_top", 1),
    ("hair_low", 1),
    ("hair_bottom", 1),
    ("hair_flare", 1),
    ("hairline", 1),
    ("hairline_drop", 1),
    ("hairline_power", 1),
    ("part", 1),
    ("slope", 1),
    ("curl_size", 1),
    ("curl_count", 1),
    ("bun", 1),
    ("bun_x", 1),
    ("bun_y", 1),
    ("beard", 1),
    ("moustache", 1),
    ("glasses", 1),
    ("glasses_round", 1),
    ("glasses_colour", 3),
    ("earring", 1),
    # clothes: colours, weights of the round and the pointed neck and of the stripes
    ("cloth", 3),
    ("trim", 3),
    ("neck_round", 1),
    ("neck_pointed", 1),
    ("stripes", 1),
    # background: two ends of a gradient and its direction in radians, two discs
    ("backdrop", 3),
    ("backdrop_end", 3),
    ("backdrop_angle", 1),
    ("disc", 3),
    ("disc_strength", 1),
    ("disc_x", 1),
    ("disc_y", 1),
    ("disc_size", 1),
    ("disc2_x", 1),
    ("disc2_y", 1),
    ("disc2_size", 1),
)
"""Names and widths of the parts of a person's vector, in their order."""


def _find_slices() -> dict[str, slice]:
    slices = {}
    start = 0
    for name, width in FIELDS:
        slices[name] = slice(start, start + width)
        start += width
    return slices


SLICES = _find_slices()
"""Where each named part lies in a person's vector."""

PERSON_WIDTH = sum(width for _, width in FIELDS)
"""Numbers that describe a person."""
