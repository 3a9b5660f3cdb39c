"""Paints eyes, brows, glasses: what is mirrored about the middle of the face."""

from __future__ import annotations

from echoexport.export.demo.world.scene import Scene, Traits
from echoexport.export.demo.world.shapes import Array, Canvas, band, cover, fall_off, namespace_of

__all__ = ["paint_brows", "paint_eyes", "paint_glasses", "trace_brow", "trace_lids"]

BROW_TRAVEL = 0.012  # how far a full raise lifts the brows
WHITE = 0.97


def paint_eyes(canvas: Canvas, scene: Scene) -> None:
    """Two eyes whose upper lids come down with ``lids``."""
    traits = scene.traits
    side, x, y = _mirror(scene)
    xp = namespace_of(x)
    across = (x / traits.eye_width).clip(-1.15, 1.15)
    y = y + traits.eye_slant * x
    top, bottom, arc = trace_lids(traits, across)
    inner = across.clip(-1.0, 1.0)
    steep = inner * traits.eye_height / traits.eye_width / (1.25 - inner * inner)
    footprint = scene.pixel * xp.sqrt(1.0 + steep * steep)
    _paint_socket(canvas, scene, x, y)
    inside = band(y, top, bottom, footprint=footprint)
    canvas.paint(inside, 0.0 * traits.iris + WHITE)
    canvas.shade(inside * fall_off(x, y - top, width=1.0, height=0.008), 0.80)
    _paint_iris(canvas, scene, inside, x, y, side)
    tail = 1.0 + 0.35 * across.clip(0.0, 1.0)
    lash = band(
        y, top - traits.lash * tail * (0.25 + 0.75 * arc), top + 0.0015, footprint=footprint
    )
    ends = (1.0 - (abs(across) - 1.0) * 12.0).clip(0.0, 1.0)
    canvas.paint(lash * ends, 0.22 * traits.brow + 0.06)


def trace_lids(traits: Traits, across: Array) -> tuple[Array, Array, Array]:
    """Heights of the upper and lower lid at places ``across`` an eye, and their common arc.

    The arc is from 0 to 1.
    """
    across = across.clip(-1.0, 1.0)
    bulge = 1.0 - across * across
    arc = 0.55 * bulge + 0.45 * (namespace_of(traits.people).sqrt(bulge + 1e-6) - 1e-3)
    bottom = 0.62 * traits.eye_height * arc
    top = -traits.eye_height * arc
    return top + (bottom - top) * traits.lids, bottom, arc


def trace_brow(traits: Traits, across: Array) -> tuple[Array, Array]:
    """Height of a brow's middle over the eye's middle, and half the brow's thickness.

    Both are at places ``across`` the brow.
    """
    middle = (
        traits.brow_y - traits.brow_arch * (1.0 - (across - 0.2) ** 2) + traits.brow_slant * across
    )
    round_ends = namespace_of(traits.people).sqrt((1.0 - across * across).clip(0.0, 1.0) + 1e-6)
    half = traits.brow_thickness * (1.0 - 0.35 * across) * round_ends
    return middle - BROW_TRAVEL * traits.brows, half


def _mirror(scene: Scene) -> tuple[Array, Array, Array]:
    """The side, and the place about that side's eye.

    The side is -1 on the left of the picture and 1 on the right; x grows outwards.
    """
    x, y = scene.face
    side = namespace_of(x).sign(x)
    return side, abs(x) - scene.traits.eye_x, y - scene.traits.eye_y


def _paint_socket(canvas: Canvas, scene: Scene, x: Array, y: Array) -> None:
    """A soft shadow about the eye and the crease above it."""
    height = scene.traits.eye_height
    canvas.paint(
        0.35 * fall_off(x, y + 0.3 * height, width=0.058, height=1.35 * height), scene.traits.shade
    )


def _paint_iris(
    canvas: Canvas, scene: Scene, inside: Array, x: Array, y: Array, side: Array
) -> None:
    """A ringed iris with its pupil and a light, cut by the lids."""
    traits = scene.traits
    pixel = scene.pixel
    xp = namespace_of(x)
    radius = traits.iris_size
    y = y + 0.10 * traits.eye_height
    away = xp.sqrt(x * x + y * y + 1e-8)
    canvas.paint(inside * cover(away - radius, pixel), traits.iris * 0.55)
    canvas.paint(inside * cover(away - 0.82 * radius, pixel), traits.iris)
    glow = fall_off(x, y - 0.5 * radius, width=0.8 * radius, height=0.5 * radius)
    canvas.paint(0.35 * inside * glow * cover(away - 0.82 * radius, pixel), traits.iris * 0.5 + 0.5)
    canvas.paint(inside * cover(away - 0.45 * radius, pixel), traits.iris * 0.0 + 0.06)
    light = xp.hypot(x * side + 0.35 * radius, y + 0.38 * radius) - 0.27 * radius
    canvas.paint(inside * cover(light, pixel), traits.iris * 0.0 + 1.0)


def paint_brows(canvas: Canvas, scene: Scene) -> None:
    """Two brows, thick at the nose and thin at the temple."""
    traits = scene.traits
    _, x, y = _mirror(scene)
    middle, half = trace_brow(traits, (x / traits.brow_width).clip(-1.2, 1.2))
    share = band(y, middle - half, middle + half, footprint=scene.pixel * 1.1)
    canvas.paint(0.92 * share, traits.brow)


def paint_glasses(canvas: Canvas, scene: Scene) -> None:
    """Rims about the eyes, a bridge and arms to the ears, where a person wears glasses."""
    traits = scene.traits
    pixel = scene.pixel
    _, x, y = _mirror(scene)
    xp = namespace_of(x)
    y = y - 0.006
    power = traits.glasses_round
    rx = 0.078
    ry = 0.062
    size = ((abs(x) / rx + 1e-4) ** power + (abs(y) / ry + 1e-4) ** power) ** (1.0 / power)
    rim = abs(xp.hypot(x, y) * (1.0 - 1.0 / (size + 1e-4))) - 0.0042
    outside = abs(scene.face[0])
    bridge = xp.maximum(abs(y + 0.012) - 0.0036, outside - traits.eye_x + rx)
    arm = xp.maximum(abs(y + 0.02) - 0.0040, traits.eye_x + rx - 0.004 - outside)
    arm = xp.maximum(arm, outside - traits.head_width + 0.004)
    shape = xp.minimum(rim, xp.minimum(bridge, arm))
    canvas.paint(0.10 * traits.glasses * cover(size - 1.0, pixel * 12.0), 0.0 * traits.iris + 1.0)
    canvas.paint(traits.glasses * cover(shape, pixel), traits.glasses_colour)
