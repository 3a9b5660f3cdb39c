"""Portraits without a face to animate: one line that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BOX = ("--face-box", "20,20,76,76")


def test_a_portrait_of_16_pixels(refused: Callable[..., str], tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "pink").save(tmp_path / "small.png")
    message = refused(portrait=tmp_path / "small.png")
    assert f"{tmp_path / 'small.png'} is 16x16" in message
    assert "64x64" in message


@pytest.mark.slow
def test_a_portrait_of_8000_pixels(accepted: Callable[..., Any], tmp_path: Path) -> None:
    Image.new("L", (8000, 8000), 90).save(tmp_path / "large.png", compress_level=1)
    outcome = accepted("--face-box", "2000,2000,6000,6000", portrait=tmp_path / "large.png")
    assert "1 frames at 24 fps" in outcome.out


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_all_kinds_are_taken(
    accepted: Callable[..., Any], tmp_path: Path, mode: str
) -> None:
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.new(mode, (80, 100), 1).save(tmp_path / f"kind{suffix}")
    assert "1 frames at 24 fps" in accepted(portrait=tmp_path / f"kind{suffix}").out


def test_a_picture_cut_short(
    refused: Callable[..., str], portrait_file: Path, tmp_path: Path
) -> None:
    content = portrait_file.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    assert str(tmp_path / "cut.png") in refused(portrait=tmp_path / "cut.png")


def test_a_voice_in_the_portraits_place(refused: Callable[..., str], voice_file: Path) -> None:
    assert f"{voice_file} cannot be read as a picture" in refused(portrait=voice_file)


@pytest.mark.parametrize("name", ["nowhere.png", "."])
def test_a_portrait_that_is_missing_or_a_folder(
    refused: Callable[..., str], tmp_path: Path, name: str
) -> None:
    assert str(tmp_path / name) in refused(portrait=tmp_path / name)


@pytest.mark.parametrize(
    "box", ["", "1,2,3", "a,b,c,d", "nan,0,9,9", "60,60,20,20", "500,500,600,600", "0,0,1,1"]
)
def test_a_face_box_that_is_none(refused: Callable[..., str], box: str) -> None:
    message = refused("--face-box", box)
    assert message.startswith("face box")


def test_a_face_model_that_is_none(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "words.tflite").write_text("hello")
    assert str(tmp_path / "words.tflite") in refused("--face-model", tmp_path / "words.tflite")
    assert str(tmp_path / "nowhere.tflite") in refused("--face-model", tmp_path / "nowhere.tflite")
