"""Paints the head: ears, the face's outline and modelling, nose, freckles and beard."""

from __future__ import annotations

from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import (
    Array,
    Canvas,
    cover,
    ellipse,
    fall_off,
    namespace_of,
    smoothstep,
)

__all__ = ["measure_head", "paint_beard", "paint_ears", "paint_face", "paint_nose"]


def measure_head(scene: Scene) -> Array:
    """Distance to the head's outline, (n,H,W), its chin lowered with the jaw."""
    traits = scene.traits
    x = scene.head[0]
    y = scene.jaw
    xp = namespace_of(x)
    height = xp.where(y > 0, traits.chin + 0.0 * y, traits.skull + 0.0 * y)
    down = (y / traits.chin).clip(0.0, 1.0)
    width = traits.head_width * (1.0 - traits.taper * down * down)
    power = traits.boxiness
    size = ((abs(x) / width + 1e-4) ** power + (abs(y) / height + 1e-4) ** power) ** (1.0 / power)
    return xp.hypot(x, y) * (1.0 - 1.0 / size)


def paint_ears(canvas: Canvas, scene: Scene) -> None:
    """Two ears at the temples, perhaps with a ring."""
    traits = scene.traits
    x = abs(scene.head[0]) - traits.head_width - 0.006
    y = scene.head[1] - 0.012
    canvas.paint(
        cover(ellipse(x, y, 0.62 * traits.ear, traits.ear), scene.pixel), traits.skin * 0.96
    )
    inner = ellipse(x - 0.003, y, 0.34 * traits.ear, 0.62 * traits.ear)
    canvas.paint(0.55 * cover(inner, 3.0 * scene.pixel), traits.shade)
    ring = ellipse(
        x - 0.004, y - traits.ear - 0.004, 0.009 + 0.0 * traits.ear, 0.009 + 0.0 * traits.ear
    )
    canvas.paint(traits.earring * cover(ring, scene.pixel), 0.0 * traits.trim + 0.92)


def paint_face(canvas: Canvas, scene: Scene, outline: Array) -> None:
    """Skin with soft light from the upper left, cheeks and freckles.

    ``outline`` is from ``measure_head``.
    """
    traits = scene.traits
    (x, y) = scene.face
    inside = cover(outline, scene.pixel)
    canvas.paint(inside, traits.skin)
    light = inside * fall_off(x + 0.05, y + 0.13, width=0.17, height=0.14)
    canvas.paint(0.16 * light, 0.0 * traits.skin + 1.0)
    edge = smoothstep(1.0 + outline / 0.085) * smoothstep(
        0.55 + 1.6 * scene.head[0] + 1.1 * scene.jaw
    )
    canvas.paint(0.75 * inside * edge, traits.shade)
    cheek = fall_off(abs(x) - 0.125, y - 0.070, width=0.048, height=0.036)
    canvas.paint(inside * cheek * traits.blush_strength, traits.blush)
    spots = smoothstep(_speckle(x, y)) * fall_off(
        abs(x) - 0.085, y - 0.055, width=0.075, height=0.034
    )
    canvas.paint(0.8 * traits.freckles * inside * spots, traits.shade * 0.82)


def _speckle(x: Array, y: Array) -> Array:
    """Irregular dots: where two waves at odd angles both peak, above 0."""
    xp = namespace_of(x)
    first = xp.sin(x * 255.0 + y * 90.0 + 1.0) * xp.sin(y * 240.0 - x * 70.0)
    return (first - 0.35) * 2.5


def paint_nose(canvas: Canvas, scene: Scene) -> None:
    """A shaded side, a rounded tip with its light, and two nostrils."""
    traits = scene.traits
    x = scene.face[0]
    y = scene.face[1] - traits.nose_y
    width = traits.nose_width
    flank = fall_off(
        x - 0.62 * width - 0.10 * (y + 0.05), y + 0.045, width=0.34 * width, height=0.050
    )
    canvas.paint(traits.nose_bridge * flank, traits.shade * 0.94)
    under = fall_off(x - 0.006, y - 0.019, width=1.05 * width, height=0.015)
    canvas.paint(under, traits.shade * 0.93)
    ball = ellipse(x, y - 0.001, 0.84 * width, 0.60 * width)
    canvas.paint((0.5 - ball / 0.016).clip(0.0, 1.0), traits.skin)
    canvas.paint(
        0.30 * fall_off(x + 0.006, y + 0.004, width=0.013, height=0.011), 0.0 * traits.skin + 1.0
    )
    nostril = ellipse(
        abs(x) - 0.50 * width, y - 0.50 * width - 0.002, 0.26 * width, 0.005 + 0.0 * width
    )
    canvas.paint(0.8 * cover(nostril, 1.5 * scene.pixel), traits.shade * 0.55)


def paint_beard(canvas: Canvas, scene: Scene, outline: Array) -> None:
    """A beard along the jaw and a moustache, soft where they are thin."""
    traits = scene.traits
    (x, y) = scene.face
    xp = namespace_of(x)
    across = (abs(x) / traits.head_width).clip(0.0, 1.0)
    line = traits.mouth_y + 0.052 - 0.19 * across * across * across
    start = xp.maximum(outline, line - scene.jaw)
    canvas.paint(
        traits.beard * (0.5 - start / 0.022).clip(0.0, 1.0) * cover(outline, scene.pixel),
        traits.brow,
    )
    lift = y - traits.mouth_y + traits.upper_lip + 0.012 - 0.9 * x * x
    lip = ellipse(x, lift, 0.084 + 0.0 * x, 0.014 + 0.0 * x)
    canvas.paint(traits.moustache * (0.5 - lip / 0.010).clip(0.0, 1.0), traits.brow)
