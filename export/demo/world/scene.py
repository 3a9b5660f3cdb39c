"""Where everything is.

People's numbers by name, and the pixel grid as seen from body, head and face.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from echoexport.export.demo.world.layout import FIELDS, PERSON_WIDTH, SLICES
from echoexport.export.demo.world.shapes import Array, namespace_of, smoothstep
from echoexport.export.demo.world.state import STATE_WIDTH, FaceState
from echoexport.runtime.errors import SettingError

__all__ = ["Pose", "Scene", "Traits", "find_pose", "see_scene"]

NECK = 0.33  # the head rolls about this point of the neck, below the head's middle
# how far a full turn of the person's own pose shifts the face on the head
YAW = 0.020
_PITCH = 0.010
# how far a full nod or sway shifts the head, and the face on it
MOVE_HEAD = 0.004
MOVE_FACE = 0.002
TILT = 0.0175  # radians, one degree
JAW_DROP = 0.030  # how far the chin falls at full openness
STATE_NAMES = tuple(field.name for field in fields(FaceState))
_WIDTHS = dict(FIELDS)


class Traits:
    """People's numbers and the frame's state by name: scalars as (n,1,1), colours as (n,3,1,1)."""

    def __init__(self, people: Array, states: Array) -> None:
        self.people = people
        self.states = states

    def __getattr__(self, name: str) -> Array:
        if name in STATE_NAMES:
            return self.states[:, STATE_NAMES.index(name)][:, None, None]
        if name not in SLICES:
            raise AttributeError(f"the layout of a person has no {name!r}")
        part = self.people[:, SLICES[name]]
        return part[:, :, None] if _WIDTHS[name] == 1 else part[:, :, None, None]


@dataclass(frozen=True)
class Pose:
    """Where a head is, each value (n,1,1), lengths as shares of the picture's side."""

    x: Array
    """The head's middle before it moves."""
    y: Array
    """The same, down."""
    scale: Array
    """The person's size."""
    sine: Array
    """Of the head's roll."""
    cosine: Array
    """Of the head's roll."""
    face_x: Array
    """The face's shift on the head."""
    face_y: Array
    """The same, down."""
    head_x: Array
    """The head's shift, from sway."""
    head_y: Array
    """The same, down, from a nod."""

    def to_picture(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Places on the head as shares of the picture's side."""
        across = x
        down = y - NECK
        turned_x = across * self.cosine - down * self.sine + self.head_x
        turned_y = across * self.sine + down * self.cosine + self.head_y + NECK
        return self.x + self.scale * turned_x, self.y + self.scale * turned_y

    def face_to_picture(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Places on the face, which lies on the head, as shares of the picture's side."""
        return self.to_picture(x + self.face_x, y + self.face_y)


@dataclass(frozen=True)
class Scene:
    """All that painters need; places are x and y of every pixel, (n,H,W) each."""

    traits: Traits
    """People's numbers by name."""
    pixel: Array
    """The side of a pixel."""
    xy: tuple[Array, Array]
    """Places as shares of the picture."""
    body: tuple[Array, Array]
    """Places as seen from the shoulders."""
    head: tuple[Array, Array]
    """Places as seen from the skull."""
    face: tuple[Array, Array]
    """Places as seen from eyes, nose and mouth."""
    jaw: Array
    """The head's y with the opening of the jaw taken out."""


def find_pose(traits: Traits) -> Pose:
    """Poses of people in states."""
    roll = traits.roll + TILT * traits.tilt
    xp = namespace_of(roll)
    return Pose(
        x=traits.centre_x,
        y=traits.centre_y,
        scale=traits.scale,
        sine=xp.sin(roll),
        cosine=xp.cos(roll),
        face_x=YAW * traits.yaw + MOVE_FACE * traits.sway,
        face_y=_PITCH * traits.pitch + MOVE_FACE * traits.nod,
        head_x=MOVE_HEAD * traits.sway,
        head_y=MOVE_HEAD * traits.nod,
    )


def see_scene(people: Array, states: Array, *, size: int) -> Scene:
    """The scene of people (n,P) in states (n,8), on a grid of ``size``.

    Raises SettingError for odd shapes.
    """
    check_batch(people, states, size=size)
    traits = Traits(people, states)
    pose = find_pose(traits)
    x, y = make_grid(people, size=size)
    body_x = (x - pose.x) / pose.scale
    body_y = (y - pose.y) / pose.scale
    across = body_x - pose.head_x
    down = body_y - pose.head_y - NECK
    head_x = across * pose.cosine + down * pose.sine
    head_y = down * pose.cosine - across * pose.sine + NECK
    face_x = head_x - pose.face_x
    face_y = head_y - pose.face_y
    start = traits.mouth_y + pose.face_y
    fallen = smoothstep((head_y - start) / (traits.chin - 0.03 - start))
    return Scene(
        traits=traits,
        pixel=1.0 / (size * pose.scale),
        xy=(x, y),
        body=(body_x, body_y),
        head=(head_x, head_y),
        face=(face_x, face_y),
        jaw=head_y - JAW_DROP * traits.openness * fallen,
    )


def check_batch(people: Array, states: Array, *, size: int) -> None:
    """Refuse a batch whose shapes do not fit."""
    if people.ndim != 2 or people.shape[1] != PERSON_WIDTH:
        raise SettingError(
            f"people have shape (n, {PERSON_WIDTH}), not {tuple(people.shape)}; use stack_people"
        )
    if tuple(states.shape) != (people.shape[0], STATE_WIDTH):
        raise SettingError(
            f"states of {people.shape[0]} people have shape (n, {STATE_WIDTH}), not "
            f"{tuple(states.shape)}"
        )
    if size < 8:
        raise SettingError(f"a picture has a size of 8 pixels or more, not {size}")


def make_grid(like: Array, *, size: int) -> tuple[Array, Array]:
    """The middles of all pixels as shares of the side, (1,1,W) and (1,H,1).

    Both are in the library and place of ``like``.
    """
    xp: Any = namespace_of(like)
    steps = xp.arange(size) if not hasattr(like, "is_cuda") else xp.arange(size, device=like.device)
    line = (xp.asarray(steps, dtype=like.dtype) + 0.5) / size
    return line[None, None, :], line[None, :, None]
