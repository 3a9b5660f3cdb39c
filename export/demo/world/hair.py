"""Paints hair: a mass behind the head and its front, one shape for every style."""

from __future__ import annotations

from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import (
    Array,
    Canvas,
    cover,
    fall_off,
    namespace_of,
    slot,
    smoothstep,
)

__all__ = ["measure_hair", "paint_hair_behind", "paint_hair_front"]


def measure_hair(scene: Scene) -> Array:
    """Distance to all of the hair, (n,H,W): a cap with curls, the long part and a bun."""
    traits = scene.traits
    (x, y) = scene.head
    xp = namespace_of(x)
    y = y + 0.03
    width = traits.head_width + traits.hair_side
    height = xp.where(
        y > 0, traits.hair_low + 0.06 + 0.0 * y, traits.skull + traits.hair_top - 0.03 + 0.0 * y
    )
    power = traits.boxiness
    size = ((abs(x) / width + 1e-4) ** power + (abs(y) / height + 1e-4) ** power) ** (1.0 / power)
    around = xp.arctan2(x, -y)
    curl = traits.curl_size * (
        xp.sin(traits.curl_count * around) + 0.45 * xp.sin(0.62 * traits.curl_count * around + 1.0)
    )
    cap = xp.hypot(x, y) * (1.0 - 1.0 / size) - curl
    return xp.minimum(cap, xp.minimum(_measure_length(scene, width), _measure_bun(scene)))


def _measure_length(scene: Scene, width: Array) -> Array:
    """What hangs beside and behind the face."""
    traits = scene.traits
    (x, y) = scene.head
    top = -0.10
    half = 0.5 * (traits.hair_bottom - top)
    flare = traits.hair_flare * smoothstep((y - top) / 0.5)
    return slot(x, y - top - half, width + flare, half, corner=0.05)


def _measure_bun(scene: Scene) -> Array:
    traits = scene.traits
    (x, y) = scene.head
    return namespace_of(x).hypot(x - traits.bun_x, y - traits.bun_y) - traits.bun


def paint_hair_behind(canvas: Canvas, scene: Scene, outline: Array) -> None:
    """The mass behind neck and ears, darker than the front.

    ``outline`` is from ``measure_hair``.
    """
    traits = scene.traits
    share = traits.hair_amount * cover(outline, scene.pixel)
    fade = smoothstep((scene.head[1] + 0.30) / 0.45)[:, None]
    canvas.paint(share, traits.hair * (0.98 - 0.30 * fade))


def paint_hair_front(canvas: Canvas, scene: Scene, outline: Array) -> None:
    """The hair above the hair line, with its strands and a shine."""
    traits = scene.traits
    (x, y) = scene.head
    xp = namespace_of(x)
    across = (x - traits.part) / traits.head_width
    away = abs(across).clip(0.0, 1.25)
    rise = traits.hairline_drop * away**traits.hairline_power
    wave = 0.8 * traits.curl_size * abs(xp.sin(0.5 * traits.curl_count * across + 0.7))
    line = traits.hairline + rise + traits.slope * across.clip(-1.0, 1.0) + wave
    steep = rise * traits.hairline_power / (away + 0.02) / traits.head_width
    border = (y - line) / xp.sqrt(1.0 + steep * steep)
    inside = traits.hair_amount * cover(xp.maximum(outline, border), scene.pixel)
    below = (
        traits.hair_amount
        * cover(outline, scene.pixel)
        * fall_off(border, 0.0 * y, width=0.022, height=1.0)
    )
    canvas.paint(0.35 * below * cover(-border, scene.pixel), traits.shade * 0.8)
    strands = 0.5 + 0.5 * xp.sin(across * 17.0 + 5.0 * y * across + 2.0)
    shine = fall_off(x + 0.05, y + 0.235 - 0.9 * x * x, width=0.16, height=0.035)
    tone = (0.96 + 0.06 * strands + 0.30 * shine - 0.16 * smoothstep(y + 0.25))[:, None]
    canvas.paint(inside, (traits.hair * tone + 0.07 * shine[:, None]).clip(0.0, 1.0))
