"""Draws a pose map without OpenCV.

It shows the eyes, brows, pupils and nose of a face as coloured strokes.

Strokes cover the same pixels as ``cv2.line`` with thickness 2 and no anti-aliasing,
which the networks were trained on. OpenCV makes such a stroke from a quadrilateral in
16.16 fixed point, filled row by row and outlined, and a round end of radius 1 at either
point; so does this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from echoexport.runtime.inputs.pose_topology import DOTS, STROKES
from echoexport.runtime.inputs.resize import Picture, Size, resize_bilinear

Landmarks = npt.NDArray[np.floating]
"""(478,3): x and y in pixels, and a depth that is not drawn."""

Point = tuple[int, int]
Quad = tuple[Point, Point, Point, Point]

CANVAS = 512  # the original draws at this size whatever the target
ONE = 1 << 16  # a pixel in 16.16 fixed point
HALF = ONE >> 1
ROUND_END = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # the pixels of a disc of radius 1


def draw_pose_map(landmarks: Landmarks, *, size: Size, picture: Size = (CANVAS, CANVAS)) -> Picture:
    """Draw (478,3) landmarks as an (H,W,3) uint8 map of ``size`` (W,H).

    They are in pixels of a ``picture`` (W,H).

    As the original: drawn on a 512x512 canvas, then resized bilinearly; a stroke is
    drawn only when both its ends lie inside the picture. (The original takes the
    landmarks, which are always in pixels of 512x512, for pixels of the target;
    ``picture=size`` does the same.) A square that reaches over the canvas's edge is cut
    there, where the original's index would wrap.
    """
    canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    points = _find_pixels(landmarks, picture=picture)
    for colour, pairs in STROKES:
        for first, second in pairs:
            if first in points and second in points:
                _draw_stroke(canvas, points[first], points[second], colour=colour)
    for landmark, colour in DOTS:
        if landmark in points:
            x, y = points[landmark]
            canvas[max(y - 3, 0) : y + 3, max(x - 3, 0) : x + 3] = colour
    return resize_bilinear(canvas, size=size)


def _find_pixels(landmarks: Landmarks, *, picture: Size) -> dict[int, Point]:
    """Canvas pixels of the landmarks that lie inside the picture, by number."""
    # MediaPipe keeps landmarks as float32 shares of the picture.
    shares = (np.asarray(landmarks)[:, :2] / np.asarray(picture)).astype(np.float32)
    inside = ((shares >= 0) & (shares <= 1)).all(axis=1)
    return {
        int(number): (
            min(int(float(shares[number, 0]) * CANVAS), CANVAS - 1),
            min(int(float(shares[number, 1]) * CANVAS), CANVAS - 1),
        )
        for number in np.flatnonzero(inside)
    }


def _draw_stroke(
    canvas: Picture, start: Point, end: Point, *, colour: tuple[int, int, int]
) -> None:
    """One line of thickness 2 between two pixels."""
    pixels = [(x + dx, y + dy) for x, y in (start, end) for dx, dy in ROUND_END]
    if start != end:
        quad = _surround(start, end)
        pixels.extend(_fill(quad))
        for first, second in zip(quad, (*quad[1:], quad[0]), strict=True):
            pixels.extend(_outline(first, second, canvas=canvas))
    x, y = np.asarray(pixels).T
    inside = (x >= 0) & (x < canvas.shape[1]) & (y >= 0) & (y < canvas.shape[0])
    canvas[y[inside], x[inside]] = colour


def _surround(start: Point, end: Point) -> Quad:
    """The corners, in fixed point, of the two pixels wide strip about a line."""
    (x0, y0) = start
    (x1, y1) = end
    scale = ONE / math.sqrt((x0 - x1) ** 2 + (y1 - y0) ** 2)
    across = round((y1 - y0) * scale)
    along = round((x0 - x1) * scale)
    x0, y0, x1, y1 = (value * ONE for value in (x0, y0, x1, y1))
    return (
        (x0 + across, y0 + along),
        (x0 - across, y0 - along),
        (x1 - across, y1 - along),
        (x1 + across, y1 + along),
    )


def _fill(quad: Quad) -> Iterator[Point]:
    """Pixels inside a convex quadrilateral, row by row between its two sides."""
    top = min(range(4), key=lambda corner: quad[corner][1])
    corners = quad[top:] + quad[:top]
    clockwise = _follow(corners)
    back = _follow((corners[0], *corners[:0:-1]))
    for row in clockwise.keys() & back.keys():
        left, right = sorted((clockwise[row], back[row]))
        for x in range(_nearest(left), _nearest(right) + 1):
            yield x, row


def _follow(corners: tuple[Point, ...]) -> dict[int, int]:
    """Where a side running down from the topmost corner meets each pixel row but the last.

    Values are in fixed point.
    """
    row = _nearest(corners[0][1])
    edge: dict[int, int] = {}
    for (x0, _), (x1, y1) in pairwise(corners):
        last = _nearest(y1)
        if last <= row:
            continue
        step = _divide((x1 - x0) * 2 + last - row, 2 * (last - row))
        edge.update((row + n, x0 + n * step) for n in range(last - row))
        row = last
    return edge


def _outline(start: Point, end: Point, *, canvas: Picture) -> Iterator[Point]:
    """The part of a thin line that lies on the canvas: rows are clipped first, then columns."""
    rows, columns = canvas.shape[:2]
    flipped = _clip((start[::-1], end[::-1]), limit=rows * ONE - 1)
    if flipped is None:
        return
    clipped = _clip((flipped[0][::-1], flipped[1][::-1]), limit=columns * ONE - 1)
    if clipped is not None:
        yield from _trace(*clipped)


def _clip(line: tuple[Point, Point], *, limit: int) -> tuple[Point, Point] | None:
    """Cut a line to first coordinates of 0 to ``limit``; None when nothing is left."""
    start, end = line
    if max(start[0], end[0]) < 0 or min(start[0], end[0]) > limit:
        return None
    start = _slide(start, end, limit=limit)
    return start, _slide(end, start, limit=limit)


def _slide(point: Point, other: Point, *, limit: int) -> Point:
    """Move a point along the line to ``other`` until its first coordinate is in 0..``limit``."""
    along, across = point
    border = min(max(along, 0), limit)
    if border == along:
        return point
    return border, across + int((border - along) * (other[1] - across) / (other[0] - along))


def _trace(start: Point, end: Point) -> Iterator[Point]:
    """Pixels along a thin line between two points in fixed point.

    There is one for each step of its longer axis.
    """
    dx = end[0] - start[0]
    dy = end[1] - start[1]
    yield _nearest(end[0]), _nearest(end[1])
    if abs(dx) > abs(dy):
        (x, y), (last, _) = (end, start) if dx < 0 else (start, end)
        slope = _divide((-dy if dx < 0 else dy) * ONE, abs(dx) | 1)
        for n in range(((last - x) >> 16) + 1):
            yield _nearest(x) + n, _nearest(y + n * slope)
    else:
        (x, y), (_, last) = (end, start) if dy < 0 else (start, end)
        slope = _divide((-dx if dy < 0 else dx) * ONE, abs(dy) | 1)
        for n in range(((last - y) >> 16) + 1):
            yield _nearest(x + n * slope), _nearest(y) + n


def _nearest(value: int) -> int:
    return (value + HALF) >> 16


def _divide(value: int, divisor: int) -> int:
    """Integer division towards zero, as in C."""
    return value // divisor if value >= 0 else -(-value // divisor)
