"""The arithmetic around the BlazeFace short-range detector: letterbox, anchors, boxes, overlaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echoexport.runtime.inputs.portrait import Box
from echoexport.runtime.inputs.resize import Picture, resize_picture

FloatArray = npt.NDArray[np.float32]

FaceNetwork = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""A picture (1,128,128,3), -1 to 1, to box values (896,16) and face logits (896,)."""

NETWORK_SIDE = 128  # pixels the network looks at
GRIDS = ((16, 2), (8, 6))  # (cells a side, anchors a cell): 512 + 384 = 896 anchors
LEAST_SCORE = 0.5
SAME_FACE = 0.3  # overlap (intersection over union) from which two boxes are of one face


@dataclass(frozen=True)
class FaceBox:
    """A face found in a picture: corners and a score of 0 to 1.

    Corners are in the picture's pixels and may lie outside it.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float

    @property
    def corners(self) -> Box:
        """The box alone, as :func:`~echoexport.runtime.inputs.portrait.crop_face` takes it."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def area(self) -> float:
        """In square pixels."""
        return max(self.x1 - self.x0, 0.0) * max(self.y1 - self.y0, 0.0)


def find_boxes(picture: Picture, network: FaceNetwork) -> list[FaceBox]:
    """Faces in an (H,W,3) RGB picture, best first.

    The network runs once, and overlapping boxes are merged. The picture is fitted into
    the network's square with black bars, as MediaPipe's graph does.
    """
    values, logits = network(_letterbox(picture))
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
    sure = (scores >= LEAST_SCORE) & np.isfinite(values).all(axis=1)
    height, width = picture.shape[:2]
    side = max(height, width)
    shift = np.array([(side - width) / 2, (side - height) / 2] * 2)
    corners = _decode_corners(values)[sure] * side - shift
    rows = np.column_stack([corners, scores[sure]]).tolist()
    return merge_boxes([FaceBox(*row) for row in rows])


def merge_boxes(boxes: list[FaceBox]) -> list[FaceBox]:
    """One box per face, best score first.

    Each is the mean, weighted by score, of all boxes that overlap its best one. This is
    the "weighted" non-maximum suppression of the BlazeFace paper (Bazarevsky et al.
    2019), section 3.4, which trembles less than keeping the best box alone.
    """
    rest = sorted(boxes, key=lambda box: -box.score)
    merged = []
    while rest:
        best = rest[0]
        same = [box for box in rest if box is best or measure_overlap(box, best) > SAME_FACE]
        rest = [box for box in rest if box not in same]
        corners = np.average(
            [box.corners for box in same], axis=0, weights=[box.score for box in same]
        )
        x0, y0, x1, y1 = corners.tolist()
        merged.append(FaceBox(x0, y0, x1, y1, best.score))
    return merged


def measure_overlap(first: FaceBox, second: FaceBox) -> float:
    """Intersection over union, 0 to 1."""
    wide = min(first.x1, second.x1) - max(first.x0, second.x0)
    high = min(first.y1, second.y1) - max(first.y0, second.y0)
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / (first.area + second.area - wide * high)


def _letterbox(picture: Picture) -> FloatArray:
    """The picture in the middle of a black square, as (1,128,128,3) from -1 to 1."""
    height, width = picture.shape[:2]
    scale = NETWORK_SIDE / max(height, width)
    wide = max(round(width * scale), 1)
    high = max(round(height * scale), 1)
    left = (NETWORK_SIDE - wide) // 2
    top = (NETWORK_SIDE - high) // 2
    square = np.zeros((1, NETWORK_SIDE, NETWORK_SIDE, 3), np.float32)
    square[0, top : top + high, left : left + wide] = resize_picture(picture, size=(wide, high))
    return np.asarray(square / np.float32(127.5) - np.float32(1))


def _list_anchors() -> npt.NDArray[np.float64]:
    """Centres (896,2) of the anchors, as shares of the square.

    Rows first, all of a cell together.
    """
    grids = []
    for cells, per_cell in GRIDS:
        y, x = np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(grids)


def _decode_corners(values: FloatArray) -> npt.NDArray[np.float64]:
    """Corners (896,4) as shares of the square.

    The first four of an anchor's values are the box's centre x and y, counted from the
    anchor, width and height, all in pixels: every anchor has the size of the square, so
    sizes need no other factor.
    """
    centres = values[:, :2].astype(np.float64) / NETWORK_SIDE + _list_anchors()
    halves = values[:, 2:4].astype(np.float64) / NETWORK_SIDE / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)
