"""Poses are read from files that a stranger may have written."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echoexport.runtime.errors import PoseError
from echoexport.runtime.inputs.pose import draw_pose_map, read_poses

SIZE = (64, 64)


@pytest.fixture
def write_folder(make_landmarks: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """A function that writes a folder of poses, a file each, and gives it."""

    def write(folder: Path, *, suffix: str, count: int = 3) -> Path:
        folder.mkdir()
        for i in range(count):
            path = folder / f"{i}{suffix}"
            if suffix == ".npy":
                np.save(path, make_landmarks(i))
            elif suffix == ".pkl":
                path.write_bytes(pickle.dumps(make_landmarks(i), protocol=4))
            else:
                Image.fromarray(draw_pose_map(make_landmarks(i), size=(512, 512))).save(path)
        return folder

    return write


@pytest.mark.parametrize("suffix", [".npy", ".pkl", ".png"])
def test_a_folder_gives_one_map_per_file(
    tmp_path: Path,
    suffix: str,
    make_landmarks: Callable[..., np.ndarray],
    write_folder: Callable[..., Path],
) -> None:
    maps = read_poses(write_folder(tmp_path / "poses", suffix=suffix, count=11), size=(96, 64))
    assert len(maps) == 11
    for i in (0, 2, 10):
        wanted = draw_pose_map(make_landmarks(i), size=(96, 64)).transpose(2, 0, 1) / 255
        assert maps[i].shape == (3, 64, 96)
        assert maps[i].dtype == np.float32
        assert np.abs(maps[i] - wanted).max() < 1e-6


def test_one_array_gives_one_map_per_row(
    tmp_path: Path, make_landmarks: Callable[..., np.ndarray]
) -> None:
    np.save(
        tmp_path / "poses.npy", np.stack([make_landmarks(0), make_landmarks(1)]).astype(np.float32)
    )
    maps = read_poses(tmp_path / "poses.npy", size=SIZE)
    assert len(list(maps)) == 2
    assert not np.array_equal(maps[0], maps[1])


def test_maps_are_made_only_when_asked_for(
    tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    folder = write_folder(tmp_path / "poses", suffix=".npy")
    (folder / "1.npy").write_bytes(b"broken")
    maps = read_poses(folder, size=SIZE)
    assert maps[2].any()
    with pytest.raises(PoseError, match=r"1\.npy"):
        maps[1]


def test_pickles_of_either_numpy_are_read(
    tmp_path: Path, make_landmarks: Callable[..., np.ndarray]
) -> None:
    folder = tmp_path / "poses"
    folder.mkdir()
    content = pickle.dumps(make_landmarks(), protocol=4)
    new = b"numpy._core.multiarray"
    old = b"numpy.core.multiarray"
    # A short string's opcode is its length in one byte; the frame's length, 8 bytes
    # from byte 3, shrinks too.
    for found, wanted in ((new, old), (old, new)):
        if bytes([len(found)]) + found in content:
            content = content.replace(bytes([len(found)]) + found, bytes([len(wanted)]) + wanted)
            grown = int.from_bytes(content[3:11], "little") + len(wanted) - len(found)
            content = content[:3] + grown.to_bytes(8, "little") + content[11:]
            break
    (folder / "0.pkl").write_bytes(content)
    assert read_poses(folder, size=SIZE)[0].any()


class Malicious:
    """Makes a folder when it is unpickled by a reader that allows it."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_wants_code_is_refused_and_nothing_runs(
    tmp_path: Path, protocol: int, write_folder: Callable[..., Path]
) -> None:
    folder = write_folder(tmp_path / "poses", suffix=".pkl")
    (folder / "1.pkl").write_bytes(pickle.dumps(Malicious(tmp_path / "owned"), protocol=protocol))
    with pytest.raises(PoseError, match=r"1\.pkl is refused: .*(posix|nt|os)\.mkdir"):
        read_poses(folder, size=SIZE)[1]
    assert not (tmp_path / "owned").exists()


def test_a_pickle_that_hides_code_in_an_object_array_is_refused(
    tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    folder = write_folder(tmp_path / "poses", suffix=".pkl")
    hidden = np.array([Malicious(tmp_path / "owned")], dtype=object)
    (folder / "0.pkl").write_bytes(pickle.dumps(hidden))
    with pytest.raises(PoseError, match="mkdir"):
        read_poses(folder, size=SIZE)[0]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a readable pickle"),
        (b"\x80\x04nonsense", "not a readable pickle"),
        (pickle.dumps([1, 2, 3]), "found a list"),
        (pickle.dumps(np.zeros((468, 3))), r"found float64 \(468, 3\)"),
        (pickle.dumps(np.full((478, 3), "x", dtype=object)), r"found object \(478, 3\)"),
        (b"\x80\x04" + b"N0" * (1 << 20), "far smaller"),
    ],
    ids=["empty", "nonsense", "list", "other shape", "objects", "too large"],
)
def test_a_pickle_of_something_else_is_refused_with_what_was_found(
    tmp_path: Path, content: bytes, reason: str, write_folder: Callable[..., Path]
) -> None:
    folder = write_folder(tmp_path / "poses", suffix=".pkl")
    (folder / "1.pkl").write_bytes(content)
    with pytest.raises(PoseError, match=reason) as caught:
        read_poses(folder, size=SIZE)[1]
    assert str(folder / "1.pkl") in str(caught.value)


def test_an_array_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Malicious(tmp_path / "owned")]), allow_pickle=True)
    with pytest.raises(PoseError, match=r"a\.npy is not a readable \.npy array"):
        read_poses(tmp_path / "a.npy", size=SIZE)
    assert not (tmp_path / "owned").exists()


def test_a_gap_in_the_numbers_is_named(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    folder = write_folder(tmp_path / "poses", suffix=".npy", count=5)
    (folder / "3.npy").unlink()
    with pytest.raises(PoseError, match=r"3\.npy is missing: poses 0 to 4 are wanted"):
        read_poses(folder, size=SIZE)


@pytest.mark.parametrize("index", [3, -1, 100])
def test_a_frame_past_the_last_pose_is_named(
    tmp_path: Path, index: int, write_folder: Callable[..., Path]
) -> None:
    maps = read_poses(write_folder(tmp_path / "poses", suffix=".npy"), size=SIZE)
    with pytest.raises(PoseError, match=f"holds poses 0 to 2: there is no pose {index}"):
        maps[index]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_landmarks_that_are_not_finite_are_refused_with_their_frame(
    tmp_path: Path, value: float, make_landmarks: Callable[..., np.ndarray]
) -> None:
    poses = np.stack([make_landmarks(0), make_landmarks(1)])
    poses[1, 7, 0] = value
    np.save(tmp_path / "poses.npy", poses)
    maps = read_poses(tmp_path / "poses.npy", size=SIZE)
    assert maps[0].any()
    with pytest.raises(PoseError, match=r"poses\.npy, pose 1: wanted finite landmarks"):
        maps[1]


@pytest.mark.parametrize("shape", [(478, 3), (2, 468, 3), (2, 478, 2), (0, 478, 3)])
def test_an_array_of_another_shape_is_refused_with_its_shape(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.save(tmp_path / "poses.npy", np.zeros(shape))
    with pytest.raises(PoseError, match=r"poses\.npy"):
        read_poses(tmp_path / "poses.npy", size=SIZE)


def test_a_broken_map_is_refused_with_its_name(
    tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    folder = write_folder(tmp_path / "poses", suffix=".png")
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(PoseError, match=r"2\.png cannot be read as a picture"):
        read_poses(folder, size=SIZE)[2]


def test_a_folder_without_poses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(PoseError, match=r"wanted 0\.npy, 1\.npy, .* found no such file"):
        read_poses(tmp_path, size=SIZE)


def test_a_folder_of_two_kinds_is_refused(
    tmp_path: Path, make_landmarks: Callable[..., np.ndarray], write_folder: Callable[..., Path]
) -> None:
    folder = write_folder(tmp_path / "poses", suffix=".npy")
    (folder / "0.pkl").write_bytes(pickle.dumps(make_landmarks(), protocol=4))
    with pytest.raises(PoseError, match=r"both \.npy and \.pkl files"):
        read_poses(folder, size=SIZE)


def test_a_missing_path_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="nowhere: there is no such pose file"):
        read_poses(tmp_path / "nowhere", size=SIZE)


def test_a_single_pickle_is_refused_with_what_is_wanted(
    tmp_path: Path, make_landmarks: Callable[..., np.ndarray]
) -> None:
    (tmp_path / "all.pkl").write_bytes(pickle.dumps(make_landmarks()))
    with pytest.raises(PoseError, match=r"all\.pkl: wanted a \.npy file of shape \(n,478,3\)"):
        read_poses(tmp_path / "all.pkl", size=SIZE)
