"""Only the orientation of EXIF matters: nothing else in it turns a picture or refuses it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from echoexport.runtime.inputs.orientation import UPRIGHT, find_orientation
from echoexport.runtime.inputs.picture_file import read_picture

FAULTS = Path(__file__).parents[4] / "shared" / "faults"
TURNED = (0x0112, 3, 1, struct.pack("<H", 6))


def pack_fields(*fields: tuple[int, int, int, bytes], rest: bytes = b"") -> bytes:
    """EXIF of fields (tag, type, count, the four bytes of the value), little-endian."""
    packed = b"".join(
        struct.pack("<HHI4s", tag, kind, count, value) for tag, kind, count, value in fields
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + packed + bytes(4) + rest


def draw_field(rng: np.random.Generator) -> tuple[int, int, int, bytes]:
    """A field of any tag but the orientation's, any type, and a count that may be absurd."""
    known = [0x010E, 0x011A, 0x0128, 0x0132, 0x8769, 0x8825, 0x927C, 0x9286, 0xA005, 0x0201]
    tag = int(rng.choice(known)) if rng.integers(2) else int(rng.integers(0x0113, 0x10000))
    count = int(rng.choice([0, 1, 2, 5, 1000, 2**31, 2**32 - 1]))
    return tag, int(rng.integers(20)), count, rng.bytes(4)


@pytest.fixture(scope="module")
def turned(draw_gradient: Callable[..., np.ndarray]) -> bytes:
    """The gradient as a JPEG that lies on its side."""
    stored = BytesIO()
    Image.fromarray(np.rot90(draw_gradient(16, 24), 1)).save(stored, "JPEG", quality=95)
    return stored.getvalue()


def test_six_thousand_odd_fields_refuse_no_picture_and_all_are_turned(
    tmp_path: Path, turned: bytes
) -> None:
    rng = np.random.default_rng(20)
    path = tmp_path / "a.jpg"
    shapes = set()
    for _ in range(6000):
        fields = [draw_field(rng), TURNED]
        rng.shuffle(fields)
        body = b"Exif\0\0" + pack_fields(*fields, rest=rng.bytes(24))
        segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        path.write_bytes(turned[:2] + segment + turned[2:])
        shapes.add(read_picture(path).shape)
    assert shapes == {(16, 24, 3)}


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg"])
def test_odd_fields_do_not_matter_in_other_formats_either(
    tmp_path: Path, name: str, draw_gradient: Callable[..., np.ndarray]
) -> None:
    rng = np.random.default_rng(21)
    picture = Image.fromarray(np.rot90(draw_gradient(), 1))
    for _ in range(50):
        exif = pack_fields(draw_field(rng), TURNED, draw_field(rng), rest=rng.bytes(9))
        stored = exif if name == "a.png" else b"Exif\0\0" + exif
        picture.save(tmp_path / name, exif=stored, lossless=True, quality=95)
        found = read_picture(tmp_path / name)
        assert np.abs(found.astype(int) - draw_gradient()).mean() < 4


@pytest.mark.parametrize(("tag", "value"), [(0x010E, 7), (0x011A, "seventy"), (0x0132, 3.5)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_with_a_field_of_another_type_is_read(
    tmp_path: Path,
    tag: int,
    value: object,
    orientation: int,
    draw_gradient: Callable[..., np.ndarray],
) -> None:
    fields = TiffImagePlugin.ImageFileDirectory_v2()
    fields.tagtype[tag] = {int: 4, str: 2, float: 12}[type(value)]
    fields[tag] = value
    fields[0x0112] = orientation
    turns = 1 if orientation == 6 else 0
    picture = Image.fromarray(np.ascontiguousarray(np.rot90(draw_gradient(), turns)))
    picture.save(tmp_path / "a.tif", tiffinfo=fields)
    assert (read_picture(tmp_path / "a.tif") == draw_gradient()).all()


def test_two_segments_of_exif_are_one(turned: bytes, tmp_path: Path) -> None:
    body = pack_fields((0x010E, 2, 4, b"abc\0"), TURNED)
    content = turned[:2]
    for part in (body[:15], body[15:]):
        content += b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part
    (tmp_path / "a.jpg").write_bytes(content + turned[2:])
    assert read_picture(tmp_path / "a.jpg").shape == (16, 24, 3)


@pytest.mark.parametrize("kind", [1, 3, 4, 8, 9])
@pytest.mark.parametrize("order", ["<", ">"])
def test_an_orientation_of_any_whole_type_counts(kind: int, order: str) -> None:
    form = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i"}[kind]
    value = struct.pack(order + form, 8).ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    exif = start + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value
    assert find_orientation(exif) == 8
    assert find_orientation(b"Exif\0\0Exif\0\0" + exif) == 8


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"words, not fields",
        b"II*\0\xff\xff\xff\xff\x01\0",
        pack_fields((0x0112, 3, 1, b"\x09\0\0\0")),
        pack_fields((0x0112, 3, 1, b"\0\0\0\0")),
        pack_fields((0x0112, 3, 7, b"\x06\0\0\0")),
        pack_fields((0x0112, 12, 1, b"\x06\0\0\0")),
        pack_fields((0x0112, 9, 1, b"\xff\xff\xff\xff")),
        pack_fields(TURNED)[:18],
    ],
)
def test_an_orientation_that_makes_no_sense_is_upright(exif: bytes) -> None:
    assert find_orientation(exif) == UPRIGHT


def test_xmp_tells_the_orientation_where_exif_does_not() -> None:
    for xmp in (b'<x tiff:Orientation="3"/>', b"<tiff:Orientation>3</tiff:Orientation>"):
        assert find_orientation(b"", xmp) == 3
        assert find_orientation(pack_fields((0x010E, 2, 1, b"a\0\0\0")), xmp) == 3
        assert find_orientation(pack_fields(TURNED), xmp) == 6


@pytest.mark.skipif(not FAULTS.is_dir(), reason="shared/faults is not here")
@pytest.mark.parametrize(
    "name", ["exif_types.jpg", "exif_description_is_a_number.jpg", "exif_resolution_is_text.jpg"]
)
def test_the_pictures_from_the_field_are_read_upright(name: str) -> None:
    picture = read_picture(FAULTS / name)
    red = picture[..., 0].astype(float)
    assert red[:20].mean() < 110  # black hair above
    assert red[:, :20].mean() > 115 and red[:, -20:].mean() > 115  # a red wall on either side
