"""Strips of pictures to look at while training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from echoexport.export.demo.training.strips import write_rows
from echoexport.runtime.errors import OutputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_strips_are_rows_of_pictures(tmp_path: Path) -> None:
    from PIL import Image

    row = torch.stack([torch.full((3, 4, 5), -1.0), torch.full((3, 4, 5), 2.0)])
    write_rows(tmp_path / "samples" / "strip.png", [row, -row])
    levels = np.asarray(Image.open(tmp_path / "samples" / "strip.png"))
    assert levels.shape == (8, 10, 3)
    assert levels[[0, 0, 4, 4], [0, 9, 0, 9], 0].tolist() == [0, 255, 255, 0]
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["strip.png"]


def test_a_strip_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("no folder")
    with pytest.raises(OutputError, match=r"strip\.png: cannot be written"):
        write_rows(tmp_path / "samples" / "strip.png", [torch.zeros(1, 3, 4, 4)])
