"""What a command does with a file of each kind, short of the networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

SIZE = (64, 64)
MOST_READ = 1 << 24
"""Values of a tensor above which they are not read; a build reads them one at a time."""


def read_picture_file(content: bytes, folder: Path) -> str:
    """A portrait, as ``run`` reads it."""
    from echoexport.runtime.inputs.portrait import read_portrait, whole_picture

    picture = read_portrait(_write(content, folder / "picture"))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    return hash_arrays([whole_picture(picture, size=SIZE).picture])


def read_sound_file(content: bytes, folder: Path) -> str:
    """A voice, as ``run`` hears it and as it goes into the video."""
    from echoexport.runtime.inputs.voice import read_voice
    from echoexport.runtime.sinks.open import open_sink

    path = _write(content, folder / "sound")
    voice = read_voice(path)
    assert voice.samples.dtype == np.float32
    assert np.abs(voice.samples).max(initial=0) <= 1
    assert abs(Fraction(len(voice.samples), 16_000) - voice.duration) < 1
    output = folder / "out.mp4"
    with open_sink(str(output), size=SIZE, fps=Fraction(24), voice_path=path) as sink:
        sink.write(np.zeros((*SIZE, 3), np.uint8))
    output.unlink()
    return hash_arrays([voice.samples])


def read_pose_file(content: bytes, folder: Path) -> str:
    """A clip's landmarks in one file."""
    from echoexport.runtime.inputs.pose import read_poses

    maps = read_poses(_write(content, folder / "poses.npy"), size=SIZE)
    return hash_arrays(maps[index] for index in range(min(len(maps), 3)))


def read_pose_folder(content: bytes, folder: Path) -> str:
    """A frame's landmarks, whose suffix is that of what they began as."""
    from echoexport.runtime.inputs.pose import read_poses

    suffix = ".npy" if content.startswith(b"\x93") else ".pkl"
    place = folder / f"poses{suffix}"
    place.mkdir(exist_ok=True)
    _write(content, place / f"0{suffix}")
    return hash_arrays(read_poses(place, size=SIZE))


def read_face_model(content: bytes, folder: Path, *, engine: str) -> str:
    """The boxes that a face model finds in a picture."""
    from echoexport.runtime.inputs.faces import find_faces, open_detector

    suffix = ".task" if content.startswith(b"PK") else ".tflite"
    detector = open_detector(_write(content, folder / f"model{suffix}"), engine=engine)
    rows, columns = np.mgrid[:160, :144]
    picture = np.stack([rows, columns, (rows + columns) // 2], axis=-1).astype(np.uint8)
    faces = find_faces(picture, detector)
    return hash_arrays([np.array([(*face.corners, face.score) for face in faces])])


def read_weights(content: bytes, folder: Path) -> str:
    """A table of weights with its values, as a build reads it."""
    from echoexport.export.checkpoint.tensor_files import open_tensor_file

    table = open_tensor_file(_write(content, folder / "weights.pth"))
    found = []
    for key in sorted(table):
        tensor = table[key]
        assert all(isinstance(side, int) and side >= 0 for side in tensor.shape)
        if np.prod(tensor.shape, dtype=object) < MOST_READ:
            values = tensor.read()
            assert values.shape == tensor.shape
            found.append(values)
    return hash_arrays(found)


def _write(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


def hash_arrays(arrays: Iterable[Any]) -> str:
    """One digest of arrays, with their types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
