"""Draws frames: people in states, as pictures of any size, in numpy or in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.world.eyes import paint_brows, paint_eyes, paint_glasses
from echoexport.export.demo.world.hair import measure_hair, paint_hair_behind, paint_hair_front
from echoexport.export.demo.world.head import (
    measure_head,
    paint_beard,
    paint_ears,
    paint_face,
    paint_nose,
)
from echoexport.export.demo.world.mouth import cover_interior, paint_mouth
from echoexport.export.demo.world.scene import check_batch, see_scene
from echoexport.export.demo.world.shapes import Array, Canvas, namespace_of
from echoexport.export.demo.world.surroundings import make_backdrop, paint_body

__all__ = ["draw_frames", "draw_mouth_interior", "to_bytes"]

# Numpy draws this many at once, so that a layer stays in the processor's cache.
CACHED_PIXELS = 1 << 14


def draw_frames(people: Array, states: Array, *, size: int = 128) -> Array:
    """Pictures (n,3,size,size) float32 in [0,1] of ``people`` (n,P) in ``states`` (n,8).

    Both are float32 numpy arrays, or both torch tensors on one device; so is the
    result. See ``person.stack_people`` and ``FaceState.as_matrix``. Raises SettingError
    for shapes that do not fit.
    """
    check_batch(people, states, size=size)
    if namespace_of(people) is not np:
        return _draw_batch(people, states, size=size)
    step = max(CACHED_PIXELS // (size * size), 1)
    frames = np.empty((len(people), 3, size, size), np.float32)
    for start in range(0, len(people), step):
        part = slice(start, start + step)
        frames[part] = _draw_batch(people[part], states[part], size=size)
    return frames


def _draw_batch(people: Array, states: Array, *, size: int) -> Array:
    """All layers, from the back to the front."""
    scene = see_scene(people, states, size=size)
    head = measure_head(scene)
    hair = measure_hair(scene)
    canvas = Canvas(make_backdrop(scene))
    paint_hair_behind(canvas, scene, hair)
    paint_body(canvas, scene)
    paint_ears(canvas, scene)
    paint_face(canvas, scene, head)
    paint_beard(canvas, scene, head)
    paint_mouth(canvas, scene)
    paint_nose(canvas, scene)
    paint_hair_front(canvas, scene, hair)
    paint_eyes(canvas, scene)
    paint_brows(canvas, scene)
    paint_glasses(canvas, scene)
    return canvas.picture.clip(0.0, 1.0)


def draw_mouth_interior(people: Array, states: Array, *, size: int = 128) -> Array:
    """The share of each pixel inside the open mouth (dark, teeth and tongue), (n,size,size).

    0 for closed lips.
    """
    return cover_interior(see_scene(people, states, size=size))


def to_bytes(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Frames (n,3,H,W) in [0,1] as pictures (n,H,W,3) uint8."""
    return np.ascontiguousarray(
        (np.asarray(frames) * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)
    )
