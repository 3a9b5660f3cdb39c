"""Small honest weight files and poses, as their users' programs write them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np


def make_torch_files(*, new: bool) -> Iterator[bytes]:
    """Tables of weights by ``torch.save``, in its new or its old format."""
    import torch

    values = torch.arange(24.0).reshape(4, 6)
    plain = {"w": values, "v": values[0].half(), "n": torch.arange(3)}
    turned = {"w": values.t(), "v": values[1:3], "same": values}
    whisper = {"dims": {"n_mels": 5}, "model_state_dict": plain}
    trained = {"state_dict": {f"module.{key}": value for key, value in plain.items()}, "step": 7}
    parameters = {"w": torch.nn.Parameter(values), "b": values.bfloat16()}
    for table in (plain, turned, whisper, trained, parameters):
        file = BytesIO()
        torch.save(table, file, _use_new_zipfile_serialization=new)
        yield file.getvalue()


def make_safetensors() -> Iterator[bytes]:
    """Tables of weights in three types, with and without notes."""
    from safetensors.numpy import save

    draw = np.random.default_rng(0)
    table = {
        "w": draw.standard_normal((4, 6)).astype(np.float32),
        "module.v": draw.standard_normal(7).astype(np.float16),
        "n": np.arange(3),
    }
    yield save(table)
    yield save(table, metadata={"format": "pt"})
    yield save({f"block.{number}.weight": table["w"] for number in range(9)})


def make_landmark_arrays() -> Iterator[bytes]:
    """``.npy`` files of a clip's landmarks, in types and orders that numpy writes."""
    clip = _draw_landmarks(3)
    for array in (clip, clip.astype(np.float64), clip.astype("<i2"), np.asfortranarray(clip)):
        yield _write_array(array)


def make_landmark_files() -> Iterator[bytes]:
    """Landmarks of one frame, as ``.npy`` and as pickles of every protocol."""
    (frame,) = _draw_landmarks(1)
    yield _write_array(frame)
    for protocol in range(6):
        yield pickle.dumps(frame, protocol=protocol)


def _draw_landmarks(count: int) -> np.ndarray:
    draw = np.random.default_rng(1)
    return draw.uniform(50, 450, (count, 478, 3)).astype(np.float32)


def _write_array(array: Any) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()
