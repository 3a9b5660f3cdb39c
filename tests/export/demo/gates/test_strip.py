"""A strip shows frames of a clip above its sound and both curves of its mouth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoexport.export.demo.gates.clips import ClipResult, GateCase, measure_case
from echoexport.export.demo.gates.strip import FRAME_SIDE, TRUTH, draw_clip_strip
from echoexport.runtime.errors import InputError


@pytest.fixture(scope="module")
def result(cases: list[GateCase]) -> ClipResult:
    return measure_case(cases[0], lambda *_: cases[0].truth)[0]


def test_a_strip_is_a_png_as_wide_as_the_frames_it_shows(
    cases: list[GateCase], result: ClipResult, tmp_path: Path
) -> None:
    case = cases[0]
    path = tmp_path / "deeper" / "strip.png"
    draw_clip_strip(path, case.truth, case.clip.samples, result=result, every=10)
    assert path.read_bytes()[:4] == b"\x89PNG"
    with Image.open(path) as picture:
        assert picture.width == FRAME_SIDE * -(-case.frames // 10)
    assert [file.name for file in path.parent.iterdir()] == ["strip.png"]


def test_a_strip_draws_the_true_curve_in_green(
    cases: list[GateCase], result: ClipResult, tmp_path: Path
) -> None:
    case = cases[0]
    draw_clip_strip(tmp_path / "strip.png", case.truth, case.clip.samples, result=result)
    with Image.open(tmp_path / "strip.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    green = tuple(int(TRUTH[at : at + 2], 16) for at in (1, 3, 5))
    assert (pixels == green).all(axis=2).any()


def test_no_frames_make_no_strip(result: ClipResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames"):
        draw_clip_strip(
            tmp_path / "strip.png",
            np.zeros((0, 8, 8, 3), np.uint8),
            np.zeros(0, np.int16),
            result=result,
        )
    assert list(tmp_path.iterdir()) == []
