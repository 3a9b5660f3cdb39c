"""Embedded colour profiles are applied, and what is no use as a profile changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from echoexport.runtime.inputs.picture_file import read_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Red, green and blue of Adobe RGB (1998) as XYZ under D50."""


def pack_profile(space: bytes, tags: dict[bytes, bytes], *, kind: bytes = b"mntr") -> bytes:
    """An ICC profile, version 2.4, of one colour space and these tags."""
    table = struct.pack(">I", len(tags))
    content = b""
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += struct.pack(">4sII", name, start + len(content), len(body))
        content += body + bytes(-len(body) % 4)
    connection = b"Lab " if space == b"CMYK" else b"XYZ "
    head = struct.pack(
        ">I4sI4s4s4s", start + len(content), b"", 0x02400000, kind, space, connection
    )
    white = struct.pack(">3i", 63190, 65536, 54061)
    return (
        (head.ljust(36, b"\0") + b"acsp").ljust(68, b"\0")
        + white.ljust(60, b"\0")
        + table
        + content
    )


def pack_xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def pack_gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


@pytest.fixture(scope="session")
def adobe_profile() -> bytes:
    """A profile of Adobe RGB's primaries and gamma."""
    colours = {
        name + b"XYZ": pack_xyz(*xyz) for name, xyz in zip((b"r", b"g", b"b"), ADOBE, strict=True)
    }
    curves = {name + b"TRC": pack_gamma(563 / 256) for name in (b"r", b"g", b"b")}
    return pack_profile(b"RGB ", {b"wtpt": pack_xyz(0.9642, 1, 0.8249), **colours, **curves})


@pytest.fixture(scope="session")
def press_profile() -> bytes:
    """A profile of made-up inks: each takes light away, as L, a and b of the corners say."""
    corners = np.array([[(i >> shift) & 1 for shift in (3, 2, 1, 0)] for i in range(16)])
    cyan, magenta, yellow, black = corners.T
    light = 255 * (1 - black) * (1 - (0.3 * cyan + 0.4 * magenta + 0.1 * yellow))
    a = 128 + (1 - black) * (-30 * cyan + 70 * magenta)
    b = 128 + (1 - black) * (-45 * cyan + 80 * yellow)
    grid = np.stack([light, a, b], axis=1).round().astype(np.uint8).tobytes()
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + grid + ramp * 3
    return pack_profile(b"CMYK", {b"A2B0": table}, kind=b"prtr")


def convert(image: Image.Image, profile: bytes) -> np.ndarray:
    """What littleCMS makes of a picture by itself."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    found = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    assert found is not None
    return np.asarray(found)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_a_picture_in_other_colours_becomes_srgb_in_every_format(
    tmp_path: Path, name: str, draw_gradient: Callable[..., np.ndarray], adobe_profile: bytes
) -> None:
    path = tmp_path / name
    Image.fromarray(draw_gradient()).save(path, icc_profile=adobe_profile, quality=95)
    with Image.open(path) as stored:
        wanted = convert(stored.convert("RGB"), adobe_profile)
        before = np.asarray(stored.convert("RGB"))
    assert (read_picture(path) == wanted).all()
    assert np.abs(wanted.astype(int) - before).max() > 10


def test_adobe_reds_are_as_red_as_srgb_can_say(tmp_path: Path, adobe_profile: bytes) -> None:
    """Adobe RGB (180, 60, 50) is sRGB (208, 57, 45): worked out from the two standards."""
    Image.new("RGB", (8, 8), (180, 60, 50)).save(tmp_path / "a.png", icc_profile=adobe_profile)
    linear = (np.array([180, 60, 50]) / 255) ** (563 / 256)
    adobe_to_srgb = np.array([[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]])
    light = np.clip(adobe_to_srgb @ linear, 0, 1)
    wanted = 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    assert np.abs(read_picture(tmp_path / "a.png")[0, 0] - wanted).max() <= 1.5


def test_a_cmyk_picture_is_converted_by_its_profile(tmp_path: Path, press_profile: bytes) -> None:
    inks = np.random.default_rng(5).integers(0, 256, (6, 6, 4), dtype=np.uint8)
    image = Image.fromarray(np.kron(inks, np.ones((16, 16, 1), np.uint8)), "CMYK")
    image.save(tmp_path / "a.tif", icc_profile=press_profile)
    wanted = convert(image, press_profile)
    assert (read_picture(tmp_path / "a.tif") == wanted).all()
    assert np.abs(wanted.astype(int) - np.asarray(image.convert("RGB"))).mean() > 10


def test_white_paper_of_a_cmyk_jpeg_stays_white(tmp_path: Path, press_profile: bytes) -> None:
    """JPEG writers store inks upside down; a profile takes them as they are."""
    Image.new("CMYK", (64, 64), (0, 0, 0, 0)).save(tmp_path / "a.jpg", icc_profile=press_profile)
    assert read_picture(tmp_path / "a.jpg").min() >= 253
    Image.new("CMYK", (64, 64), (0, 0, 0, 255)).save(tmp_path / "b.jpg", icc_profile=press_profile)
    assert read_picture(tmp_path / "b.jpg").max() <= 2


def test_a_grey_profile_brightens_a_grey_picture(tmp_path: Path) -> None:
    profile = pack_profile(b"GRAY", {b"wtpt": pack_xyz(0.9642, 1, 0.8249), b"kTRC": pack_gamma(1)})
    Image.new("L", (8, 8), 55).save(tmp_path / "a.png", icc_profile=profile)
    found = read_picture(tmp_path / "a.png")[0, 0]  # linear 55 / 255 in sRGB's curve
    assert np.abs(found.astype(int) - 128).max() <= 2
    deep = Image.fromarray(np.full((8, 8), 55 * 257, np.uint16))
    deep.save(tmp_path / "deep.png", icc_profile=profile)
    assert (read_picture(tmp_path / "deep.png")[0, 0] == found).all()


def test_what_is_transparent_stays_white_under_a_profile(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray], adobe_profile: bytes
) -> None:
    image = Image.fromarray(draw_gradient()).convert("RGBA")
    alpha = np.full((80, 100), 255, np.uint8)
    alpha[:40] = 0
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png", icc_profile=adobe_profile)
    found = read_picture(tmp_path / "a.png")
    assert (found[:40] == 255).all()
    assert (found[40:] == convert(Image.fromarray(draw_gradient()), adobe_profile)[40:]).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK"])
@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        b"no profile",
        SRGB[:200],
        SRGB[:-40],
        SRGB[:128] + bytes(len(SRGB) - 128),
        pack_profile(b"GRAY", {}),
        pack_profile(b"RGB ", {b"wtpt": b"XYZ "}),
        pack_profile(b"3CLR", {}),
    ],
    ids=["srgb", "words", "head", "cut", "zeros", "grey without curve", "no colours", "three inks"],
)
def test_a_profile_that_says_nothing_new_or_is_broken_changes_no_bit(
    tmp_path: Path, mode: str, profile: bytes, draw_gradient: Callable[..., np.ndarray]
) -> None:
    image = Image.fromarray(draw_gradient()).convert(mode)
    image.save(tmp_path / "with.tif", icc_profile=profile)
    image.save(tmp_path / "without.tif")
    plain = read_picture(tmp_path / "without.tif")
    assert (plain == np.asarray(image.convert("RGB"))).all()
    assert (read_picture(tmp_path / "with.tif") == plain).all()


def test_a_profile_of_other_colours_than_the_pictures_is_ignored(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray], press_profile: bytes
) -> None:
    Image.fromarray(draw_gradient()).save(tmp_path / "a.png", icc_profile=press_profile)
    assert (read_picture(tmp_path / "a.png") == draw_gradient()).all()


def test_random_bits_in_a_profile_refuse_no_picture(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray], adobe_profile: bytes
) -> None:
    rng = np.random.default_rng(11)
    image = Image.fromarray(draw_gradient(20, 20))
    for _ in range(300):
        profile = bytearray(adobe_profile)
        for place in rng.integers(0, len(profile), 3):
            profile[place] = rng.integers(256)
        image.save(tmp_path / "a.png", icc_profile=bytes(profile), compress_level=0)
        assert read_picture(tmp_path / "a.png").shape == (20, 20, 3)
