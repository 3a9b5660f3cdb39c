"""Paints the mouth: two lips about an opening that shows teeth, a tongue and the dark."""

from __future__ import annotations

from dataclasses import dataclass

from echoexport.export.demo.world.scene import Scene, Traits
from echoexport.export.demo.world.shapes import Array, Canvas, band, ellipse, fall_off, namespace_of

__all__ = ["LipEdges", "MouthShape", "cover_interior", "measure_mouth", "paint_mouth", "trace_lips"]

RISE = 0.22  # share of the opening that lifts the upper lip; the rest lowers the lower one
LINE = 0.0042  # half the thickness of the line between closed lips


@dataclass(frozen=True)
class MouthShape:
    """Sizes of a mouth in a state, as shares of the side."""

    width: Array
    """Half of it, from the middle to a corner."""
    opening: Array
    upper: Array
    """Thickness of the upper lip."""
    lower: Array
    """Thickness of the lower lip."""
    round: Array
    """How round the opening is, from 0 to 1."""
    smile: Array
    """How far the corners are lifted."""


def measure_mouth(traits: Traits) -> MouthShape:
    """How wide and open a mouth is in its state."""
    rounding = traits.rounding
    width = traits.width
    openness = traits.openness
    pursed = 1.0 - 0.40 * rounding
    return MouthShape(
        width=traits.mouth_width * (1.0 + 0.13 * width - 0.05 * openness) * pursed,
        opening=traits.mouth_range * openness * (1.0 - 0.12 * rounding - 0.08 * width),
        upper=traits.upper_lip * (1.0 + 0.30 * rounding - 0.12 * width - 0.15 * openness),
        lower=traits.lower_lip * (1.0 + 0.25 * rounding - 0.12 * width - 0.20 * openness),
        round=(0.25 + 0.55 * rounding + 0.20 * openness).clip(0.0, 0.9),
        smile=traits.smile * (1.0 - 0.8 * rounding) + 0.006 * width.clip(0.0, 1.0),
    )


@dataclass(frozen=True)
class LipEdges:
    """Heights of the four lip edges before the corners are lifted.

    They are counted from the mouth's line downwards.
    """

    outer_top: Array
    inner_top: Array
    inner_bottom: Array
    outer_bottom: Array
    slope: Array


@dataclass(frozen=True)
class Curves:
    """The mouth over a grid."""

    across: Array
    """Place across the mouth, -1 and 1 at its corners."""
    y: Array
    """Height below the mouth's line, with the corners' lift taken out."""
    edges: LipEdges
    footprint: Array
    """Height of a pixel across the slope of the edges."""


def trace_lips(traits: Traits, shape: MouthShape, across: Array) -> LipEdges:
    """The lip edges at places ``across`` the mouth, -1 and 1 being its corners."""
    xp = namespace_of(traits.people)
    across = across.clip(-1.0, 1.0)
    bulge = 1.0 - across * across
    full = xp.sqrt(bulge + 1e-6) - 1e-3
    opening = shape.opening * (full * shape.round + bulge * (1.0 - shape.round))
    dip = 1.0 - traits.bow * (1.0 - 0.6 * traits.rounding) * xp.exp(-((across * 4.5) ** 2))
    inner_top = -RISE * opening
    inner_bottom = (1.0 - RISE) * opening
    return LipEdges(
        outer_top=inner_top - shape.upper * dip * (0.35 * full + 0.65 * bulge),
        inner_top=inner_top,
        inner_bottom=inner_bottom,
        outer_bottom=inner_bottom + shape.lower * (0.45 * full + 0.55 * bulge),
        slope=0.8 * across * shape.opening * (shape.round / (full + 0.12) + 2.0) / shape.width,
    )


def trace_curves(scene: Scene, shape: MouthShape) -> Curves:
    """The mouth's edges over the grid."""
    x, y = scene.face
    across = (x / shape.width).clip(-1.4, 1.4)
    edges = trace_lips(scene.traits, shape, across)
    return Curves(
        across=across,
        y=y - scene.traits.mouth_y + shape.smile * across * across,
        edges=edges,
        footprint=scene.pixel * namespace_of(x).sqrt(1.0 + edges.slope * edges.slope),
    )


def cover_interior(scene: Scene) -> Array:
    """The share of each pixel inside the open mouth, teeth and tongue included, (n,H,W)."""
    curves = trace_curves(scene, measure_mouth(scene.traits))
    edges = curves.edges
    return band(curves.y, edges.inner_top, edges.inner_bottom, footprint=curves.footprint)


def paint_mouth(canvas: Canvas, scene: Scene) -> None:
    """Lips, the line between them, then what shows between them."""
    traits = scene.traits
    shape = measure_mouth(scene.traits)
    curves = trace_curves(scene, shape)
    edges = curves.edges
    y = curves.y
    pixel = curves.footprint
    below = fall_off(
        scene.face[0],
        y - shape.opening * (1 - RISE) - shape.lower - 0.010,
        width=0.05,
        height=0.010,
    )
    canvas.paint(0.30 * below, traits.shade)
    canvas.paint(band(y, edges.outer_top, edges.outer_bottom, footprint=pixel), traits.lip)
    canvas.shade(band(y, edges.outer_top, edges.inner_top, footprint=pixel), 0.86)
    middle = edges.inner_bottom + 0.42 * shape.lower
    canvas.paint(
        0.22 * fall_off(scene.face[0], y - middle, width=0.4 * shape.width, height=0.006),
        traits.teeth,
    )
    thick = LINE * (1.0 - 0.75 * curves.across**4).clip(0.0, 1.0)
    line = band(y, edges.inner_top - thick, edges.inner_bottom + thick, footprint=pixel)
    canvas.paint(0.9 * line, traits.lip * 0.52)
    _paint_inside(canvas, scene, shape, curves)


def _paint_inside(canvas: Canvas, scene: Scene, shape: MouthShape, curves: Curves) -> None:
    """The dark, a tongue at the bottom and a strip of teeth at the top, all cut by the opening."""
    traits = scene.traits
    edges = curves.edges
    y = curves.y
    pixel = curves.footprint
    xp = namespace_of(y)
    inside = band(y, edges.inner_top, edges.inner_bottom, footprint=pixel)
    canvas.paint(inside, traits.interior)
    low = (1.0 - RISE) * shape.opening
    tongue = ellipse(
        scene.face[0], y - low - 0.006, 0.58 * shape.width, 0.10 * shape.opening + 0.020
    )
    canvas.paint(inside * (0.5 - tongue / (3.0 * scene.pixel)).clip(0.0, 1.0) * 0.9, traits.tongue)
    height = (0.017 * (1.0 + 0.25 * traits.width) * (1.0 - 0.5 * traits.rounding)) * (
        1.0 - 0.35 * curves.across**2
    )
    edge = edges.inner_top + xp.minimum(0.40 * (edges.inner_bottom - edges.inner_top), height)
    canvas.paint(inside * band(y, edges.inner_top - 0.01, edge, footprint=pixel), traits.teeth)
