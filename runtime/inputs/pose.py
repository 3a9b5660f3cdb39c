"""Reads landmarks or drawn maps, and gives the pose variants their maps by frame number."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echoexport.runtime.errors import PortraitError, PoseError
from echoexport.runtime.inputs.landmark_pickle import read_pickled_array
from echoexport.runtime.inputs.picture_file import read_picture
from echoexport.runtime.inputs.pose_drawing import Landmarks, draw_pose_map
from echoexport.runtime.inputs.pose_topology import LANDMARKS
from echoexport.runtime.inputs.resize import Picture, Size, resize_bilinear

__all__ = ["PoseMaps", "draw_pose_map", "read_poses"]

PoseMap = npt.NDArray[np.float32]
"""(3,H,W), 0 to 1, channels as the original draws them."""

MOST_PICKLE_BYTES = 1 << 20  # the arrays that belong in one take 11,472 bytes


MOST_HEADER_BYTES = 1 << 12
_HEADER = re.compile(
    rb"^\x93NUMPY[\1-\3]\0.{2,4}\{\s*'descr':\s*'(?P<dtype>[<>|=]?[a-zA-Z?][0-9]{0,4})',"
    rb"\s*'fortran_order':\s*(?:True|False),"
    rb"\s*'shape':\s*\((?P<sides>(?:\s*[0-9]{1,15}L?\s*,?){0,8})\),?\s*\}",
    re.DOTALL,
)


class PoseMaps:
    """Pose maps of a clip.

    ``maps[i]`` reads and draws frame i anew, as (3,H,W) float32 from 0 to 1.
    """

    def __init__(
        self, source: Path, *, count: int, size: Size, draw: Callable[[int], Picture]
    ) -> None:
        self.source = source
        self.size = size
        self._count = count
        self._draw = draw

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> PoseMap:
        channels_first = self.draw_frame(index).transpose(2, 0, 1).astype(np.float32, order="C")
        return np.asarray(channels_first / np.float32(255))

    def __iter__(self) -> Iterator[PoseMap]:
        return (self[index] for index in range(self._count))

    def draw_frame(self, index: int) -> Picture:
        """Frame ``index`` as an (H,W,3) uint8 picture.

        Raises PoseError for a frame that is not there.
        """
        if not 0 <= index < self._count:
            raise PoseError(
                f"{self.source} holds poses 0 to {self._count - 1}: there is no pose {index}"
            )
        return self._draw(index)


def read_poses(path: Path | str, *, size: Size) -> PoseMaps:
    """Open the poses of a clip.

    Maps of ``size`` (W,H) are made one at a time when they are asked for.

    ``path`` is a folder of landmark files ``0.npy, 1.npy, ...``; one of ``0.pkl, 1.pkl,
    ...`` as the original reads them; one of drawn maps ``0.png, 1.png, ...``; or a
    single ``.npy`` of shape (n,478,3). Landmarks are x, y and depth in pixels of a
    512x512 picture. Pickles are read by a reader that allows nothing but a numpy array.
    Raises PoseError, naming the file, what was wanted and what was found.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, size=size)
    if not path.is_file():
        raise PoseError(f"{path}: there is no such pose file or folder")
    if path.suffix.lower() != ".npy":
        raise PoseError(
            f"{path}: wanted a .npy file of shape (n,{LANDMARKS},3) or a folder of 0.npy, "
            "1.npy, ..."
        )
    return _open_array(path, size=size)


def _open_folder(folder: Path, *, size: Size) -> PoseMaps:
    by_kind = {kind: _numbered_files(folder, suffix=kind) for kind in (".npy", ".pkl", ".png")}
    kinds = [kind for kind, files in by_kind.items() if files]
    if len(kinds) != 1:
        found = f"both {' and '.join(kinds)} files" if kinds else "no such file"
        raise PoseError(f"{folder}: wanted 0.npy, 1.npy, ... or .pkl or .png files, found {found}")
    files = by_kind[kinds[0]]
    missing = next((i for i in range(len(files)) if i not in files), None)
    if missing is not None:
        raise PoseError(
            f"{folder / f'{missing}{kinds[0]}'} is missing: poses 0 to {max(files)} are wanted"
        )
    draw = _read_map if kinds[0] == ".png" else _draw_landmark_file
    return PoseMaps(folder, count=len(files), size=size, draw=lambda i: draw(files[i], size=size))


def _numbered_files(folder: Path, *, suffix: str) -> dict[int, Path]:
    names = (path for path in folder.iterdir() if path.suffix == suffix)
    return {int(path.stem): path for path in names if path.stem.isascii() and path.stem.isdigit()}


def _open_array(path: Path, *, size: Size) -> PoseMaps:
    poses = _read_array(path)
    if poses.ndim != 3 or poses.shape[1:] != (LANDMARKS, 3) or not len(poses):
        raise PoseError(f"{path}: wanted landmarks of shape (n,{LANDMARKS},3), found {poses.shape}")
    return PoseMaps(
        path,
        count=len(poses),
        size=size,
        draw=lambda i: draw_pose_map(
            _check_landmarks(poses[i], name=f"{path}, pose {i}"), size=size
        ),
    )


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        _check_header(path)
        return np.lib.format.open_memmap(path, mode="r")  # lazy, and refuses pickled objects
    except Exception as error:  # a header is Python text, and fails as such texts do
        raise PoseError(f"{path} is not a readable .npy array of numbers: {error}") from error


def _check_header(path: Path) -> None:
    """Refuse, before numpy maps it, a header that numpy itself would not write."""
    with path.open("rb") as file:
        start = file.read(MOST_HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
    header = _HEADER.search(start.partition(b"}")[0] + b"}")
    if header is None:
        raise ValueError("its header is not one of a plain array")
    sides = [int(side) for side in header["sides"].replace(b"L", b"").split(b",") if side.strip()]
    if math.prod(sides) * np.dtype(header["dtype"].decode()).itemsize > size:
        raise ValueError(f"its shape {tuple(sides)} is larger than the file")


def _draw_landmark_file(path: Path, *, size: Size) -> Picture:
    landmarks = _read_pickle(path) if path.suffix == ".pkl" else _read_array(path)
    return draw_pose_map(_check_landmarks(landmarks, name=str(path)), size=size)


def _read_map(path: Path, *, size: Size) -> Picture:
    try:
        drawn = read_picture(path)
    except PortraitError as error:
        raise PoseError(str(error)) from error
    return resize_bilinear(drawn, size=size)


def _check_landmarks(landmarks: npt.NDArray[Any], *, name: str) -> Landmarks:
    if landmarks.shape != (LANDMARKS, 3) or landmarks.dtype.kind not in "fiu":
        found = f"{landmarks.dtype} {landmarks.shape}"
        raise PoseError(f"{name}: wanted numbers of shape ({LANDMARKS},3), found {found}")
    if not np.isfinite(landmarks).all():
        raise PoseError(f"{name}: wanted finite landmarks, found NaN or infinite values")
    return landmarks


def _read_pickle(path: Path) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_PICKLE_BYTES + 1)
    except OSError as error:
        raise PoseError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_PICKLE_BYTES:
        raise PoseError(
            f"{path} has {path.stat().st_size} bytes: a pickle of ({LANDMARKS},3) landmarks is "
            "far smaller"
        )
    return read_pickled_array(content, name=str(path))
