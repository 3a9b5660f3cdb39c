"""Paints what does not move: the background, the neck and the clothes."""

from __future__ import annotations

from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import (
    Array,
    Canvas,
    cover,
    ellipse,
    fall_off,
    namespace_of,
    slot,
)

__all__ = ["make_backdrop", "paint_body"]


def make_backdrop(scene: Scene) -> Array:
    """A gradient with two soft discs, (n,3,H,W)."""
    traits = scene.traits
    (x, y) = scene.xy
    xp = namespace_of(traits.backdrop_angle)
    along = (
        0.5 + (x - 0.5) * xp.cos(traits.backdrop_angle) + (y - 0.5) * xp.sin(traits.backdrop_angle)
    )
    canvas = Canvas(traits.backdrop + along[:, None] * (traits.backdrop_end - traits.backdrop))
    pixel = 1.0 / x.shape[2]
    for left, top, size in (
        (traits.disc_x, traits.disc_y, traits.disc_size),
        (traits.disc2_x, traits.disc2_y, traits.disc2_size),
    ):
        away = xp.sqrt((x - left) ** 2 + (y - top) ** 2) - size
        canvas.paint(traits.disc_strength * cover(away, pixel), traits.disc)
    return canvas.picture


def paint_body(canvas: Canvas, scene: Scene) -> None:
    """Neck, shoulders in their clothes, and the neckline."""
    traits = scene.traits
    (x, y) = scene.body
    xp = namespace_of(x)
    neck = slot(x, y - 0.30, traits.neck + 0.25 * (y - 0.34).clip(0.0, 0.1), 0.16, corner=0.02)
    canvas.paint(cover(neck, scene.pixel), traits.skin * 0.97)
    shadow = cover(neck, scene.pixel) * fall_off(
        x, (scene.head[1] - traits.chin).clip(0.0, None), width=0.3, height=0.055
    )
    canvas.paint(0.85 * shadow, traits.shade * 0.9)
    reach = (abs(x) / 0.40).clip(0.0, 1.2)
    shoulder = (0.375 + 0.15 * reach**2.4 - y) / (1.0 + 0.5 * reach)
    stripes = 0.5 + 0.5 * xp.sin((y - 0.03 * reach) * 80.0)
    stripe = traits.stripes * (0.5 + (stripes - 0.5) * 4.0).clip(0.0, 1.0)
    cloth = traits.cloth * (1.06 - 0.30 * (x + 0.3).clip(0.0, 0.8))[:, None]
    cloth = cloth + stripe[:, None] * (traits.trim - cloth)
    canvas.paint(cover(shoulder, scene.pixel), cloth)
    # A pixel beyond the cloth, lest its half covered edge shows as a line across the
    # neck.
    _paint_neckline(canvas, scene, cover(shoulder - scene.pixel, scene.pixel))


def _paint_neckline(canvas: Canvas, scene: Scene, covered: Array) -> None:
    """A round or pointed cut in what the cloth has ``covered`` that shows the skin, with a hem."""
    traits = scene.traits
    (x, y) = scene.body
    opening = traits.neck + 0.030
    round_cut = ellipse(x, y - 0.370, opening, 0.070 + 0.0 * opening)
    pointed = (abs(x) / opening + (y - 0.36) / 0.135 - 1.0) * 0.075
    cut = traits.neck_round * round_cut + traits.neck_pointed * pointed
    canvas.paint(covered * cover(cut - 0.014, scene.pixel), traits.trim)
    canvas.paint(covered * cover(cut, scene.pixel), traits.skin * 0.97)
    shadow = fall_off(x, (scene.head[1] - traits.chin).clip(0.0, None), width=0.14, height=0.055)
    canvas.paint(0.6 * covered * shadow * cover(cut, scene.pixel), traits.shade)
