"""Landmarks come out of pickles of every protocol, and nothing else does."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.errors import PoseError
from echoexport.runtime.inputs.landmark_pickle import read_pickled_array
from echoexport.runtime.inputs.pose import read_poses

FAULTS = Path(__file__).parents[4] / "shared" / "faults"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i4", "|u1"])
@pytest.mark.parametrize("by_columns", [False, True])
def test_arrays_of_every_protocol_and_type_are_read(
    protocol: int, dtype: str, by_columns: bool, make_landmarks: Callable[..., np.ndarray]
) -> None:
    array = np.asarray(make_landmarks().astype(dtype), order="F" if by_columns else "C")
    found = read_pickled_array(pickle.dumps(array, protocol=protocol), name="a.pkl")
    assert found.dtype == array.dtype
    assert (found == array).all()


@pytest.mark.skipif(not FAULTS.is_dir(), reason="shared/faults is not here")
def test_landmarks_from_the_field_are_read() -> None:
    content = (FAULTS / "pose_protocol_5.pkl").read_bytes()
    found = read_pickled_array(content, name="a.pkl")
    assert found.shape == (478, 3) and np.isfinite(found).all()


def test_a_large_memo_index_takes_no_memory() -> None:
    content = b"\x80\x04K\x01r" + struct.pack("<I", 2**31 - 1) + b"."
    tracemalloc.start()
    try:
        with pytest.raises(PoseError, match=r"a\.pkl: wanted an array of landmarks, found a int"):
            read_pickled_array(content, name="a.pkl")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_tuple_of_tuples_without_end_is_refused_at_once() -> None:
    nested = b"\x80\x04)" + b"q\0h\0\x86" * 60
    for ending in (b".", b"h\0\x93.", b"\x8c\x05numpy\x8c\x05dtype\x93h\0\x85R."):
        with pytest.raises(PoseError, match=r"a\.pkl"):
            read_pickled_array(nested + ending, name="a.pkl")


def test_random_bytes_in_a_pickle_give_an_array_or_one_line(
    make_landmarks: Callable[..., np.ndarray],
) -> None:
    rng = np.random.default_rng(4)
    small = make_landmarks()[:4]
    for protocol in (2, 4, 5):
        content = pickle.dumps(small, protocol=protocol)
        for _ in range(400):
            mutated = bytearray(content)
            for place in rng.integers(0, len(content), 2):
                mutated[place] = rng.integers(256)
            try:
                found = read_pickled_array(bytes(mutated), name="a.pkl")
            except PoseError as error:
                assert "a.pkl" in str(error)
            else:
                assert isinstance(found, np.ndarray)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551616, 478, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000, 478, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True, 478, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 478, 3), }",
        "{'descr': '<f8', 'fortran_order': 1, 'shape': (1, 478, 3), }",
        "{'descr': True, 'fortran_order': False, 'shape': (1, 478, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 478, 3",
        "{'descr': '<f8', 'fortran_order': False, 'shape': 5, }",
        "(" * 500,
        "",
    ],
)
def test_odd_headers_of_arrays_are_refused_in_one_line(tmp_path: Path, header: str) -> None:
    start = b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1)
    (tmp_path / "a.npy").write_bytes(start + header.encode() + b"\n" + bytes(478 * 3 * 8))
    with pytest.raises(PoseError, match=r"a\.npy is not a readable \.npy array of numbers"):
        read_poses(tmp_path / "a.npy", size=(64, 64))
