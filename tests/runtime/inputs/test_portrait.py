"""Portraits are read upright and in RGB, or refused by name."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs.picture_file import read_picture
from echoexport.runtime.inputs.portrait import crop_face, portrait_from_array, read_portrait


def save(path: Path, picture: np.ndarray, *, mode: str = "RGB", **options: Any) -> Path:
    Image.fromarray(picture).convert(mode).save(path, **options)
    return path


def test_a_plain_picture_is_read_as_it_is(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray]
) -> None:
    path = save(tmp_path / "a.png", draw_gradient())
    assert (read_portrait(path) == draw_gradient()).all()


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.swapaxes(0, 1)),
        (6, lambda p: np.rot90(p, 1)),
        (7, lambda p: p.swapaxes(0, 1)[::-1, ::-1]),
        (8, lambda p: np.rot90(p, -1)),
    ],
)
def test_an_exif_orientation_is_applied(
    tmp_path: Path,
    orientation: int,
    undo: Callable[[np.ndarray], np.ndarray],
    draw_gradient: Callable[..., np.ndarray],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(undo(draw_gradient())), exif=exif)
    assert (read_portrait(path) == draw_gradient()).all()


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_pictures_get_three_equal_channels(
    tmp_path: Path, mode: str, draw_gradient: Callable[..., np.ndarray]
) -> None:
    picture = read_portrait(save(tmp_path / "a.png", draw_gradient(), mode=mode))
    assert picture.shape == (80, 100, 3)
    assert (picture == picture[..., :1]).all()


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 80 * 100).reshape(80, 100).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    picture = read_portrait(tmp_path / "a.png").astype(int)
    assert np.abs(picture - (deep / 257)[..., None]).max() <= 0.5


def test_a_palette_picture_becomes_rgb(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray]
) -> None:
    picture = read_portrait(save(tmp_path / "a.png", draw_gradient(), mode="P"))
    assert picture.shape == (80, 100, 3)
    assert np.abs(picture.astype(int) - draw_gradient()).mean() < 30


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_turns_white(
    tmp_path: Path, mode: str, draw_gradient: Callable[..., np.ndarray]
) -> None:
    image = Image.fromarray(draw_gradient()).convert(mode)
    alpha = np.full((80, 100), 255, np.uint8)
    alpha[:40] = 0
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png")
    picture = read_portrait(tmp_path / "a.png")
    assert (picture[:40] == 255).all()
    opaque = Image.fromarray(draw_gradient()).convert(mode[:-1]).convert("RGB")
    assert (picture[40:] == np.asarray(opaque)[40:]).all()


def test_a_transparent_palette_colour_turns_white(tmp_path: Path) -> None:
    image = Image.new("P", (80, 80), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((3, 4), 0)
    image.save(tmp_path / "a.png", transparency=0)
    picture = read_portrait(tmp_path / "a.png")
    assert picture[4, 3].tolist() == [255, 255, 255]
    assert picture[0, 0].tolist() == [40, 50, 60]


def test_a_cmyk_picture_becomes_rgb(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.jpg", np.full((80, 80, 3), (200, 40, 40), np.uint8), mode="CMYK", quality=95
    )
    assert np.abs(read_portrait(path).astype(int) - (200, 40, 40)).max() < 12


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (70, 70), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_portrait(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match=r"nobody\.png: there is no such"):
        read_portrait(tmp_path / "nobody.png")


def test_a_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match=f"{tmp_path.name} is a folder"):
        read_portrait(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PortraitError, match=r"a\.png cannot be read as a picture"):
        read_portrait(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_truncated_picture_is_refused_with_its_name(
    tmp_path: Path, name: str, share: float
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    path = save(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(PortraitError, match=name):
        read_portrait(path)


@pytest.mark.parametrize("size", [(16, 16), (63, 500), (500, 63)])
def test_a_tiny_portrait_is_refused_with_the_least_size(
    tmp_path: Path, size: tuple[int, int], draw_gradient: Callable[..., np.ndarray]
) -> None:
    path = save(tmp_path / "a.png", draw_gradient(*size[::-1]))
    with pytest.raises(
        PortraitError, match=rf"a\.png is {size[0]}x{size[1]}: the least size is 64x64"
    ):
        read_portrait(path)
    assert read_picture(path).shape == (*size[::-1], 3)


def test_the_least_portrait_is_taken(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray]
) -> None:
    assert read_portrait(save(tmp_path / "a.png", draw_gradient(64, 64))).shape == (64, 64, 3)


def write_png_header(path: Path, *, width: int, height: int) -> Path:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("side", [13_400, 60_000])
def test_an_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = write_png_header(tmp_path / "bomb.png", width=side, height=side)
    with pytest.raises(PortraitError, match=r"bomb\.png .*178 megapixels"):
        read_portrait(path)


def test_the_limit_holds_when_pillows_own_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = write_png_header(tmp_path / "bomb.png", width=60_000, height=60_000)
    with pytest.raises(PortraitError, match=r"bomb\.png is 60000x60000"):
        read_portrait(path)


def test_an_allowed_size_gives_no_bomb_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw_gradient: Callable[..., np.ndarray]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7000)  # 80 x 100 is above it, below twice of it
    assert read_portrait(save(tmp_path / "a.png", draw_gradient())).shape == (80, 100, 3)


def test_a_huge_portrait_is_read_and_cropped(tmp_path: Path) -> None:
    image = Image.new("P", (8000, 8000), 0)  # quicker to write than RGB, and the same to read
    image.putpalette([10, 200, 30])
    image.save(tmp_path / "a.png", compress_level=1)
    tracemalloc.start()
    try:
        crop = crop_face(read_portrait(tmp_path / "a.png"), (500, 500, 7500, 7400), size=(512, 512))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (crop.picture == (10, 200, 30)).all()
    # What numpy and bytes take: at most the picture and two copies.
    assert peak < 3 * 8000 * 8000 * 3


def test_an_rgb_array_is_taken_as_it_is(draw_gradient: Callable[..., np.ndarray]) -> None:
    assert (portrait_from_array(draw_gradient()) == draw_gradient()).all()


@pytest.mark.parametrize("shape", [(80, 70), (80, 70, 1)])
def test_a_grey_array_gets_three_channels(shape: tuple[int, ...]) -> None:
    grey = np.arange(80 * 70, dtype=np.uint32).astype(np.uint8).reshape(shape)
    picture = portrait_from_array(grey)
    assert (picture == grey.reshape(80, 70, 1)).all()
    assert picture.shape == (80, 70, 3)


def test_an_rgba_array_lies_over_white() -> None:
    rgba = np.full((64, 64, 4), 100, np.uint8)
    rgba[..., 3] = np.arange(64) * 4
    wanted = 100 * (rgba[..., 3] / 255) + 255 * (1 - rgba[..., 3] / 255)
    assert np.abs(portrait_from_array(rgba) - wanted[..., None]).max() <= 0.5


@pytest.mark.parametrize(
    "array",
    [np.zeros((80, 80, 3), np.float32), np.zeros((80, 80, 2), np.uint8), np.zeros(80, np.uint8)],
    ids=["float", "two channels", "one dimension"],
)
def test_other_arrays_are_refused_with_their_type_and_shape(array: np.ndarray) -> None:
    with pytest.raises(PortraitError, match="wanted uint8"):
        portrait_from_array(array)


def test_a_tiny_array_is_refused() -> None:
    with pytest.raises(PortraitError, match="the portrait is 20x30: the least size is 64x64"):
        portrait_from_array(np.zeros((30, 20, 3), np.uint8))
