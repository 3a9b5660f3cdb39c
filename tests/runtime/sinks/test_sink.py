"""What holds for every sink: whole or not at all, and frames of one shape."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.sinks.open import open_sink

SIZE = (64, 48)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "frames"])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path,
    name: str,
    count: int,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
) -> None:
    voice = write_voice(tmp_path / "voice.wav")
    frame = make_frames(1)[0]
    with (
        pytest.raises(KeyboardInterrupt),
        open_sink(tmp_path / name, size=SIZE, fps=24, voice_path=voice) as sink,
    ):
        for _ in range(count):
            sink.write(frame)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["voice.wav"]  # noqa: PTH208 - hidden names count


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_without_a_frame_there_is_no_output(
    tmp_path: Path, name: str, write_all: Callable[..., None]
) -> None:
    with pytest.raises(OutputError, match="no frame was written"):
        write_all(open_sink(tmp_path / name, size=SIZE, fps=24), [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_folder_that_does_not_exist_is_named(
    tmp_path: Path,
    name: str,
    make_frames: Callable[..., list[np.ndarray]],
    write_all: Callable[..., None],
) -> None:
    with pytest.raises(OutputError, match=rf"nowhere/{name}.*mkdir -p .*nowhere"):
        write_all(open_sink(tmp_path / "nowhere" / name, size=SIZE, fps=24), make_frames(1))


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_file_in_place_of_the_folder_is_refused(
    tmp_path: Path,
    name: str,
    make_frames: Callable[..., list[np.ndarray]],
    write_all: Callable[..., None],
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_all(open_sink(tmp_path / "file" / name, size=SIZE, fps=24), make_frames(1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_read_only_folder_is_refused(
    tmp_path: Path,
    name: str,
    make_frames: Callable[..., list[np.ndarray]],
    write_all: Callable[..., None],
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_all(open_sink(locked / name, size=SIZE, fps=24), make_frames(1))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((64, 48, 3), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_frame_of_another_shape_or_type_is_refused(
    tmp_path: Path, name: str, frame: np.ndarray, write_all: Callable[..., None]
) -> None:
    with pytest.raises(SettingError, match=r"\(48, 64, 3\) uint8 RGB is wanted"):
        write_all(open_sink(tmp_path / name, size=SIZE, fps=24), [frame])
    assert not list(tmp_path.iterdir())
