"""A folder of PNGs appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoexport.runtime.errors import OutputError
from echoexport.runtime.sinks.open import open_sink
from echoexport.runtime.sinks.png_folder import PngFolderSink

SIZE = (64, 48)


def test_pngs_are_numbered_and_lossless(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    frames = make_frames(3)
    write_all(open_sink(tmp_path / "frames", size=SIZE, fps=24), frames)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["frame_00000.png", "frame_00001.png", "frame_00002.png"]
    for name, frame in zip(names, frames, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "frames" / name)), frame)
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_an_empty_folder_is_filled(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    (tmp_path / "frames").mkdir()
    write_all(PngFolderSink(tmp_path / "frames"), make_frames(1))
    assert (tmp_path / "frames" / "frame_00000.png").is_file()


def test_a_folder_with_something_in_it_is_refused_and_kept(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"frames: the folder is not empty; remove it"):
        write_all(PngFolderSink(tmp_path / "frames"), make_frames(1))
    assert (tmp_path / "frames" / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_a_file_with_the_folders_name_is_refused_and_kept(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    (tmp_path / "frames").write_text("mine")
    with pytest.raises(OutputError, match="a file is in the way"):
        write_all(PngFolderSink(tmp_path / "frames"), make_frames(1))
    assert (tmp_path / "frames").read_text() == "mine"
