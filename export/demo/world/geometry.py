"""Where things are in a drawn picture.

Mouth, face box, the regions that move, and the colours to measure by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.world.head import measure_head
from echoexport.export.demo.world.layout import SLICES
from echoexport.export.demo.world.mouth import RISE, measure_mouth
from echoexport.export.demo.world.scene import Scene, Traits, find_pose, see_scene
from echoexport.export.demo.world.shapes import slot
from echoexport.export.demo.world.state import STATE_WIDTH

__all__ = [
    "MouthColours",
    "MouthGeometry",
    "eyes_mask",
    "face_box",
    "mouth_colours",
    "mouth_geometry",
    "mouth_mask",
]

_Floats = NDArray[np.float32]
_Mask = NDArray[np.bool_]

_MARGIN = 0.014  # of the side, about what a full nod, sway and tilt move a face by
HAIRLINE = 0.75  # of the skull's height: where hair begins on a face, drawn or not


@dataclass(frozen=True)
class MouthGeometry:
    """A mouth in a picture, in pixels, one value a row.

    ``x, y`` is the middle of the line between the lips; ``half_width`` reaches from
    there to a corner at rest. Wide open, the mouth with its lips is 2 ``half_height``
    tall and its middle lies ``drop`` below (x, y), and the lips are ``opening`` apart.
    ``roll`` is the head's turn in radians, clockwise as seen.
    """

    x: _Floats
    y: _Floats
    half_width: _Floats
    half_height: _Floats
    drop: _Floats
    opening: _Floats
    roll: _Floats


@dataclass(frozen=True)
class MouthColours:
    """What a mouth is painted with, RGB in [0,1], (n,3) each.

    Skin and lips before their soft shading.
    """

    skin: _Floats
    lips: _Floats
    interior: _Floats
    teeth: _Floats
    tongue: _Floats


def mouth_geometry(people: _Floats, states: _Floats | None = None, *, size: int) -> MouthGeometry:
    """The mouths of people (n,P) in a picture of ``size``, in ``states`` (n,8) or at rest."""
    traits = Traits(people, rest_of(people) if states is None else states)
    pose = find_pose(traits)
    x, y = pose.face_to_picture(0.0 * traits.mouth_y, traits.mouth_y)
    unit = size * traits.scale
    lips = traits.upper_lip + traits.lower_lip
    tallest = traits.mouth_range + lips
    top = -RISE * traits.mouth_range - traits.upper_lip
    values = {
        "x": x * size,
        "y": y * size,
        "half_width": measure_mouth(Traits(people, rest_of(people))).width * unit,
        "half_height": 0.5 * tallest * unit,
        "drop": (top + 0.5 * tallest) * unit,
        "opening": traits.mouth_range * unit,
        "roll": np.arctan2(pose.sine, pose.cosine),
    }
    return MouthGeometry(
        **{name: value[:, 0, 0].astype(np.float32) for name, value in values.items()}
    )


def face_box(people: _Floats, *, size: int) -> _Floats:
    """Boxes from hair line to chin and cheek to cheek at rest, (n,4): x0, y0, x1, y1 in pixels."""
    traits = Traits(people, rest_of(people))
    pose = find_pose(traits)
    none = 0.0 * traits.chin
    left, _ = pose.to_picture(-traits.head_width, none)
    right, _ = pose.to_picture(traits.head_width, none)
    _, top = pose.to_picture(none, -HAIRLINE * traits.skull)
    _, bottom = pose.to_picture(none, traits.chin)
    boxes: _Floats = np.concatenate([left, top, right, bottom], axis=2)[:, 0] * size
    return boxes.astype(np.float32)


def mouth_mask(people: _Floats, *, size: int) -> _Mask:
    """The pixels that any mouth of these people may change, (n,size,size).

    Jaw and chin are among them.
    """
    states = rest_of(people)
    states[:, 0] = 1
    scene = see_scene(people, states, size=size)
    traits = scene.traits
    (x, y) = scene.face
    lips = slot(x, y - traits.mouth_y - 0.032, 1.22 * traits.mouth_width, 0.104, corner=0.04)
    jaw = (measure_head(scene) < 0.006 + 2.0 * scene.pixel) & (y > traits.mouth_y - scene.pixel)
    mask: _Mask = _widen(scene, lips) | jaw
    return mask


def eyes_mask(people: _Floats, *, size: int) -> _Mask:
    """The pixels that blinks and brows of these people may change, (n,size,size)."""
    scene = see_scene(people, rest_of(people), size=size)
    traits = scene.traits
    (x, y) = scene.face
    return _widen(
        scene, slot(abs(x) - traits.eye_x, y - traits.eye_y + 0.038, 0.066, 0.078, corner=0.03)
    )


def mouth_colours(people: _Floats) -> MouthColours:
    """The colours of people's mouths and skin, for measures on pixels."""
    names = {
        "skin": "skin",
        "lips": "lip",
        "interior": "interior",
        "teeth": "teeth",
        "tongue": "tongue",
    }
    return MouthColours(**{name: people[:, SLICES[part]] for name, part in names.items()})


def rest_of(people: _Floats) -> _Floats:
    """Neutral states for people, (n,8)."""
    return np.zeros((len(people), STATE_WIDTH), np.float32)


def _widen(scene: Scene, distance: _Floats) -> _Mask:
    """What lies inside a shape or within small motion of it."""
    near: _Mask = distance < _MARGIN + scene.pixel
    return near
