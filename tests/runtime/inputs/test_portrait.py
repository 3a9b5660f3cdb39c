"""Reading portraits of every kind, and cutting out the face as the original does."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs.portrait import (
    crop_face,
    parse_face_box,
    portrait_from_array,
    read_picture,
    read_portrait,
    whole_picture,
)


def draw_gradient(height: int = 80, width: int = 100) -> np.ndarray:
    """A picture whose corners all differ: red grows to the right, green downwards."""
    picture = np.full((height, width, 3), 60, np.uint8)
    picture[..., 0] = np.linspace(0, 250, width)
    picture[..., 1] = np.linspace(0, 250, height)[:, None]
    return picture


def save(path: Path, picture: np.ndarray, *, mode: str = "RGB", **options: Any) -> Path:
    Image.fromarray(picture).convert(mode).save(path, **options)
    return path


# Reading


def test_a_plain_picture_is_read_as_it_is(tmp_path: Path) -> None:
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
    tmp_path: Path, orientation: int, undo: Callable[[np.ndarray], np.ndarray]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(undo(draw_gradient())), exif=exif)
    assert (read_portrait(path) == draw_gradient()).all()


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_pictures_get_three_equal_channels(tmp_path: Path, mode: str) -> None:
    picture = read_portrait(save(tmp_path / "a.png", draw_gradient(), mode=mode))
    assert picture.shape == (80, 100, 3)
    assert (picture == picture[..., :1]).all()


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 80 * 100).reshape(80, 100).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    picture = read_portrait(tmp_path / "a.png").astype(int)
    assert np.abs(picture - (deep / 257)[..., None]).max() <= 0.5


def test_a_palette_picture_becomes_rgb(tmp_path: Path) -> None:
    picture = read_portrait(save(tmp_path / "a.png", draw_gradient(), mode="P"))
    assert picture.shape == (80, 100, 3)
    assert np.abs(picture.astype(int) - draw_gradient()).mean() < 30


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_turns_white(tmp_path: Path, mode: str) -> None:
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
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.png", draw_gradient(*size[::-1]))
    with pytest.raises(
        PortraitError, match=rf"a\.png is {size[0]}x{size[1]}: the least size is 64x64"
    ):
        read_portrait(path)
    assert read_picture(path).shape == (*size[::-1], 3)


def test_the_least_portrait_is_taken(tmp_path: Path) -> None:
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert (
        peak < 3 * 8000 * 8000 * 3
    )  # what numpy and bytes take: at most the picture and two copies


# From memory


def test_an_rgb_array_is_taken_as_it_is() -> None:
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


# The face crop


@pytest.fixture(scope="module")
def drawn_face(reference_dir: Path) -> np.ndarray:
    return read_portrait(reference_dir / "portrait.png")


@pytest.mark.parametrize("case", range(4))
def test_the_crop_equals_the_originals(
    case: int, drawn_face: np.ndarray, goldens_pipeline: Any
) -> None:
    meta = goldens_pipeline.meta["preprocess"][case]
    crop = crop_face(drawn_face, meta["bbox"], size=(512, 512))
    wanted = goldens_pipeline[f"preprocess/{case}/crop_strided"][..., ::-1]  # stored as BGR
    assert crop.rect == tuple(meta["square"])
    assert np.abs(crop.picture[::8, ::8].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("case", [0, 2, 3])
def test_the_mask_equals_the_originals(
    case: int, drawn_face: np.ndarray, goldens_pipeline: Any
) -> None:
    meta = goldens_pipeline.meta["preprocess"][case]
    mask = crop_face(drawn_face, meta["bbox"], size=(512, 512)).mask
    wanted = goldens_pipeline[f"preprocess/{case}/mask_strided"]
    assert np.abs(mask[::8, ::8].astype(int) - wanted).max() <= 1
    assert hashlib.sha256(mask.tobytes()).hexdigest() == meta["mask_sha256"]


def test_a_mask_at_the_pictures_corner_is_clamped_where_the_originals_is_empty(
    drawn_face: np.ndarray, goldens_pipeline: Any
) -> None:
    meta = goldens_pipeline.meta["preprocess"][1]
    crop = crop_face(drawn_face, meta["bbox"], size=(512, 512))
    assert meta["mask_nonzero"] == 0
    x0, y0, x1, _ = crop.rect
    # The box (5,3,120,140) grown by 11 and 13 pixels and cut to the picture is
    # (0,0,131,153).
    scale = 512 / (x1 - x0)
    right = round((131 - x0) * scale)
    bottom = round((153 - y0) * scale)
    assert (crop.mask[: bottom - 4, : right - 4] == 255).all()
    assert (crop.mask[bottom + 4 :] == 0).all()
    assert (crop.mask[:, right + 4 :] == 0).all()


def test_a_face_at_half_a_pixel_is_rounded_to_even() -> None:
    crop = crop_face(draw_gradient(200, 200), (80.5, 81.5, 120.5, 121.5), size=(64, 64))
    assert crop.rect == (60, 62, 140, 142)  # (80,82,120,122) grown by 20


@st.composite
def faces_in_pictures(
    draw: st.DrawFn,
) -> tuple[tuple[int, int], tuple[float, ...], tuple[int, int]]:
    """A picture's size, a box that overlaps it, and a target size."""
    width = draw(st.integers(64, 300))
    height = draw(st.integers(64, 300))
    x0 = draw(st.floats(-40, width - 20))
    y0 = draw(st.floats(-40, height - 20))
    x1 = x0 + draw(st.floats(10, 300))
    y1 = y0 + draw(st.floats(10, 300))
    assume(x1 > 20 and y1 > 20)
    size = draw(st.sampled_from([(64, 64), (64, 96), (120, 64), (64, 128)]))
    return (width, height), (x0, y0, x1, y1), size


@given(faces_in_pictures())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_crop_lies_in_the_picture_and_has_the_targets_shape(case: Any) -> None:
    (width, height), box, size = case
    try:
        crop = crop_face(draw_gradient(height, width), box, size=size)
    except PortraitError as error:
        assert "too little of it" in str(error)
        return
    x0, y0, x1, y1 = crop.rect
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert abs((x1 - x0) * size[1] - (y1 - y0) * size[0]) <= max(
        size
    )  # a pixel at most from the aspect
    assert crop.picture.shape == (size[1], size[0], 3)
    assert crop.mask.shape == (size[1], size[0])
    assert crop.mask.max() > 0


@given(st.integers(0, 200), st.integers(0, 200), st.integers(20, 100), st.integers(20, 100))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_mask_covers_the_grown_box_and_no_more(x: int, y: int, wide: int, high: int) -> None:
    picture = draw_gradient(300, 300)
    # With the target of the crop's own size nothing is resized, so the mask can be
    # compared exactly.
    rect = crop_face(picture, (x, y, x + wide, y + high), size=(64, 64)).rect
    side = rect[2] - rect[0]
    crop = crop_face(picture, (x, y, x + wide, y + high), size=(side, side))
    full = np.zeros((300, 300), np.uint8)
    left = max(x - int(0.1 * wide), 0)
    top = max(y - int(0.1 * high), 0)
    full[top : y + high + int(0.1 * high), left : x + wide + int(0.1 * wide)] = 255
    assert crop.rect == rect
    assert (crop.mask == full[rect[1] : rect[3], rect[0] : rect[2]]).all()
    assert (crop.picture == picture[rect[1] : rect[3], rect[0] : rect[2]]).all()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 10, 10, 50), "at least 8 pixels"),
        ((0.2, 0.1, 0.8, 0.9), "not fractions"),
        ((60, 10, 20, 50), "first corner"),
        ((10, 60, 50, 20), "first corner"),
        ((100, 10, 150, 60), "outside the picture"),
        ((-50, -50, 0, 0), "outside the picture"),
        ((10, 10, float("nan"), 50), "four finite numbers"),
        ((10, 10, float("inf"), 50), "four finite numbers"),
        ((10, 10, 50), "four finite numbers"),
    ],
)
def test_a_box_that_cannot_be_used_is_refused_with_its_values(
    box: tuple[float, ...], reason: str
) -> None:
    with pytest.raises(PortraitError, match=reason) as caught:
        crop_face(draw_gradient(80, 100), box, size=(64, 64))
    assert "picture of 100x80" in str(caught.value)
    assert ",".join(f"{value:g}" for value in box) in str(caught.value)


def test_a_box_with_almost_nothing_in_the_picture_is_refused() -> None:
    with pytest.raises(PortraitError, match="too little of it is in the picture"):
        crop_face(draw_gradient(512, 512), (-1000, 0, 1, 10), size=(64, 64))


# The whole picture


def test_a_picture_of_the_right_size_passes_through_untouched() -> None:
    picture = draw_gradient(96, 64)
    crop = whole_picture(picture, size=(64, 96))
    assert (crop.picture == picture).all()
    assert crop.rect == (0, 0, 64, 96)
    assert (crop.mask == 255).all()


@given(st.integers(64, 400), st.integers(64, 400), st.sampled_from([(64, 64), (64, 96), (128, 64)]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_whole_picture_is_cut_about_its_centre(
    width: int, height: int, size: tuple[int, int]
) -> None:
    crop = whole_picture(np.zeros((height, width, 3), np.uint8), size=size)
    x0, y0, x1, y1 = crop.rect
    assert (x1 - x0 == width) or (y1 - y0 == height)
    assert abs(x0 - (width - x1)) <= 1
    assert abs(y0 - (height - y1)) <= 1
    assert crop.mask.shape == size[::-1]
    assert crop.picture.shape == (*size[::-1], 3)


# The box as text


def test_a_face_box_is_read_from_text() -> None:
    assert parse_face_box(" 1,2.5, 30,40 ") == (1.0, 2.5, 30.0, 40.0)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1 2 3 4"])
def test_a_face_box_that_is_no_four_numbers_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(PortraitError, match="wanted four numbers") as caught:
        parse_face_box(text)
    assert repr(text) in str(caught.value)
