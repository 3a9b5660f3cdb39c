"""The face of a portrait: a box before a model, and the picture's middle where there is neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs import face_choice
from echoexport.runtime.inputs.face_choice import choose_face


def test_without_box_and_model_the_whole_picture_may_move(portrait_file: Path) -> None:
    crop, warnings = choose_face(portrait_file, (32, 32))
    assert crop.rect == (0, 0, 96, 96)
    assert (crop.mask == 255).all()
    assert "--face-box" in warnings[0] and "--face-model" in warnings[0]


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (96, 96, "the whole picture is used"),
        (200, 96, "the middle square of the picture is used"),
        (96, 97, "the middle square of the picture is used"),
    ],
)
def test_the_warning_says_which_part_is_used(
    tmp_path: Path, width: int, height: int, words: str
) -> None:
    Image.new("RGB", (width, height), "red").save(tmp_path / "a.png")
    crop, warnings = choose_face(tmp_path / "a.png", (32, 32))
    assert words in warnings[0]
    assert crop.rect[2] - crop.rect[0] == crop.rect[3] - crop.rect[1] == 96


def test_a_box_cuts_out_the_face_and_wins_over_a_model(portrait_file: Path, tmp_path: Path) -> None:
    crop, warnings = choose_face(
        portrait_file,
        (32, 32),
        box=(40.0, 40.0, 60.0, 60.0),
        model=tmp_path / "never-read.tflite",
    )
    assert crop.rect == (30, 30, 70, 70)
    assert warnings == ()


def test_a_found_face_is_cut_out(media_dir: Path) -> None:
    pytest.importorskip("openvino")
    model = media_dir / "models" / "blaze_face_short_range.tflite"
    crop, warnings = choose_face(media_dir / "portrait_b.png", (64, 64), model=model)
    assert warnings == ()
    assert 0 < (crop.mask == 255).mean() < 0.9


def test_a_model_that_finds_no_face_leaves_the_pictures_middle_and_a_warning(
    portrait_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[tuple[int, ...], Path]]()

    def find_nothing(picture: np.ndarray, *, model: Path) -> None:
        asked.append((picture.shape, model))

    monkeypatch.setattr(face_choice, "detect_face", find_nothing)
    crop, warnings = choose_face(portrait_file, (32, 48), model=tmp_path / "model.tflite")
    assert asked == [((96, 96, 3), tmp_path / "model.tflite")]
    assert crop.picture.shape == (48, 32, 3)
    assert (crop.mask == 255).all()
    assert warnings == (
        f"{portrait_file}: no face found: the middle of the picture is used "
        "(--face-box x0,y0,x1,y1 names one)",
    )


def test_a_model_that_cannot_be_read_is_refused(portrait_file: Path, tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match=r"nowhere\.tflite"):
        choose_face(portrait_file, (32, 32), model=tmp_path / "nowhere.tflite")
