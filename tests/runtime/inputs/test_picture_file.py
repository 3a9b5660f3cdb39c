"""Picture files with large notes, without an end, of unknown formats, and out of pipes."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs import picture_file
from echoexport.runtime.inputs.picture_file import is_picture, read_picture

FAULTS = Path(__file__).parents[4] / "shared" / "faults"


def pack_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pack_png(picture: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG with chunks before its pixels."""
    stored = BytesIO()
    Image.fromarray(picture).save(stored, "PNG")
    content = stored.getvalue()
    return content[:33] + b"".join(chunks) + content[33:]


LARGE = bytes(range(256)) * 12_000  # 3 MB


@pytest.mark.parametrize(
    "chunk",
    [
        pack_chunk(b"iCCP", b"press\0\0" + zlib.compress(LARGE)),
        pack_chunk(b"iCCP", b"broken\0\0" + b"no zlib"),
        pack_chunk(b"iCCP", b"endless\0\0" + zlib.compress(bytes(300 << 20), 9)),
        pack_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(LARGE)),
        pack_chunk(b"tEXt", b"parameters\0" + LARGE),
        pack_chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(LARGE)),
        pack_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE)),
        pack_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\nno hex"),
        pack_chunk(b"eXIf", b"MM"),
        pack_chunk(b"zTXt", b"")[:-1] + b"\1",
    ],
    ids=["icc", "icc broken", "icc bomb", "zip", "text", "itxt", "xmp", "hex", "exif", "crc"],
)
def test_large_or_broken_notes_of_a_png_do_not_matter(
    tmp_path: Path, chunk: bytes, draw_gradient: Callable[..., np.ndarray]
) -> None:
    (tmp_path / "a.png").write_bytes(pack_png(draw_gradient(), chunk))
    assert (read_picture(tmp_path / "a.png") == draw_gradient()).all()
    assert is_picture(tmp_path / "a.png")


def test_many_texts_of_a_png_do_not_matter(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray]
) -> None:
    text = pack_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(900_000)))
    (tmp_path / "a.png").write_bytes(pack_png(draw_gradient(), *[text] * 100))
    assert (read_picture(tmp_path / "a.png") == draw_gradient()).all()


def test_exif_in_hexadecimal_text_turns_a_png(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray]
) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 6, 0)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    Image.fromarray(np.rot90(draw_gradient(), 1)).save(tmp_path / "a.png", pnginfo=notes)
    assert (read_picture(tmp_path / "a.png") == draw_gradient()).all()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_jpeg_without_its_end_marker_is_read(
    tmp_path: Path,
    progressive: bool,
    missing: int,
    draw_gradient: Callable[..., np.ndarray],
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(draw_gradient()).save(path, quality=95, progressive=progressive)
    whole = read_picture(path)
    path.write_bytes(path.read_bytes()[:-missing])
    assert (read_picture(path)[:60] == whole[:60]).all()


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_jpeg_that_lacks_rows_is_refused(tmp_path: Path, share: float, restarts: int) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path, restart_marker_rows=restarts)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(PortraitError, match=r"a\.jpg cannot be read as a picture: .*truncated"):
        read_picture(path)


def pack_brands(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", len(body) + 4) + body + bytes(40)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pack_brands(b"heic", b"mif1", b"heic"), "it is HEIC.*save or export it as JPEG"),
        (pack_brands(b"mif1", b"heic"), "it is HEIC.*save or export it as JPEG"),
        (pack_brands(b"heix"), "it is HEIC"),
        (pack_brands(b"isom", b"mp41"), "it is a video or sound file"),
        (b"\xff\x0a rest", "it is JPEG XL"),
        (b"%PDF-1.7", "it is a PDF"),
        (b"\xef\xbb\xbf\n<svg xmlns", "it is SVG"),
        (b"<!DOCTYPE html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer.*lfs pull"),
        (b"", "it is empty"),
        (b"words", "its format is not known"),
    ],
)
def test_what_cannot_be_read_is_called_by_its_name_whatever_its_suffix(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PortraitError, match=rf"a\.jpg cannot be read as a picture: {reason}"):
        read_picture(tmp_path / "a.jpg")
    assert not is_picture(tmp_path / "a.jpg")


def feed(pipe: Path, content: bytes) -> threading.Thread:
    """Write into a pipe that has a name, as another process would."""

    def write() -> None:
        with pipe.open("wb") as entry:
            try:
                entry.write(content)
            except BrokenPipeError:  # the reader has seen enough
                return

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_a_picture_comes_out_of_a_pipe(
    tmp_path: Path, form: str, draw_gradient: Callable[..., np.ndarray]
) -> None:
    stored = tmp_path / "stored"
    Image.fromarray(draw_gradient()).save(stored, form)
    os.mkfifo(tmp_path / "pipe")
    thread = feed(tmp_path / "pipe", stored.read_bytes())
    found = read_picture(tmp_path / "pipe")
    thread.join()
    assert (found == read_picture(stored)).all()


def test_a_pipe_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_file, "MOST_BYTES", 1 << 20)
    os.mkfifo(tmp_path / "pipe")
    thread = feed(tmp_path / "pipe", bytes(3 << 20))
    with pytest.raises(PortraitError, match="pipe sends more than 1 MiB"):
        read_picture(tmp_path / "pipe")
    thread.join()


@pytest.mark.skipif(not FAULTS.is_dir(), reason="shared/faults is not here")
@pytest.mark.parametrize("name", ["png_large_icc.png", "no_eoi.jpg", "colours_prophoto.jpg"])
def test_pictures_from_the_field_are_read(name: str) -> None:
    """All show the same portrait, whose mean colour is known."""
    assert np.abs(read_picture(FAULTS / name).mean((0, 1)) - (118.1, 63.3, 59.8)).max() < 0.3


@pytest.mark.skipif(not FAULTS.is_dir(), reason="shared/faults is not here")
def test_a_telephones_picture_is_called_heic() -> None:
    with pytest.raises(PortraitError, match=r"iphone\.heic .*: it is HEIC"):
        read_picture(FAULTS / "iphone.heic")


def test_a_tiff_that_is_damaged_is_refused_without_a_line_of_its_library(
    tmp_path: Path, draw_gradient: Callable[..., np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    file = BytesIO()
    Image.fromarray(draw_gradient()).save(file, "TIFF", compression="tiff_adobe_deflate")
    content = file.getvalue()
    (tmp_path / "a.tif").write_bytes(content[:8] + bytes(64) + content[72:])
    with pytest.raises(PortraitError, match=r"a\.tif cannot be read as a picture"):
        read_picture(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_a_picture_that_another_program_would_have_to_run_is_refused(tmp_path: Path) -> None:
    file = BytesIO()
    Image.new("RGB", (64, 64)).save(file, "EPS")
    (tmp_path / "a.eps").write_bytes(file.getvalue())
    with pytest.raises(PortraitError, match=r"a\.eps is EPS, a program that draws"):
        read_picture(tmp_path / "a.eps")
