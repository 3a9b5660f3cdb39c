"""Reads any picture from a file or a pipe: upright, in sRGB, over white."""

from __future__ import annotations

import ctypes
import functools
import os
import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs.colours import convert_to_srgb
from echoexport.runtime.inputs.jpeg_end import decode_without_end
from echoexport.runtime.inputs.orientation import UPRIGHT, find_orientation
from echoexport.runtime.inputs.picture_parts import (
    MOST_PROFILE_BYTES,
    PictureParts,
    is_split,
    split_picture,
)
from echoexport.runtime.inputs.resize import Picture

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

__all__ = ["StoredPicture", "is_picture", "read_picture", "store_picture"]

MOST_PIXELS = 178_956_970  # what Pillow decodes before it suspects a decompression bomb
MOST_BYTES = 1 << 29  # of a file that is held in memory; pictures of allowed sizes are smaller

_HEAD_BYTES = 64
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_FAMILIAR_STARTS = {
    b"%PDF": "it is a PDF, no picture",
    b"<svg": "it is SVG; save it as PNG",
    b"<?xml": "it is XML, perhaps SVG; save it as PNG",
    b"<!doc": "it is a web page, no picture; fetch the picture itself",
    b"<html": "it is a web page, no picture; fetch the picture itself",
    b"version https://git-lfs": "it is a Git LFS pointer, no picture; 'git lfs pull' fetches it",
    b"\xff\x0a": "it is JPEG XL; save it as JPEG or PNG",
    b"\0\0\0\x0cJXL ": "it is JPEG XL; save it as JPEG or PNG",
}


@dataclass(frozen=True)
class StoredPicture:
    """A picture's content, to be read as often as it is needed."""

    path: Path
    """As the user named it."""
    content: bytes | None = field(default=None, repr=False)
    """Of a pipe; None of a file, which is read where it lies."""

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> IO[bytes]:
        """The content from its begin. Raises ``OSError``."""
        return self.path.open("rb") if self.content is None else BytesIO(self.content)


def store_picture(source: Path | str | StoredPicture) -> StoredPicture:
    """A picture that can be read again; a pipe is read here, once and to its end.

    Raises PortraitError: missing, a folder, a pipe that cannot be read or has no end.
    """
    if isinstance(source, StoredPicture):
        return source
    path = Path(source)
    _check_place(path)
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return StoredPicture(path)
        with path.open("rb") as pipe:
            content = pipe.read(MOST_BYTES + 1)
    except OSError as error:
        raise PortraitError(f"{path} cannot be read as a picture: {_describe(error)}") from error
    if len(content) > MOST_BYTES:
        raise PortraitError(f"{path} sends more than {MOST_BYTES >> 20} MiB: no portrait does")
    return StoredPicture(path, content)


def read_picture(source: Path | str | StoredPicture) -> Picture:
    """Read any picture, however small, as (H,W,3) uint8 RGB.

    See :func:`~echoexport.runtime.inputs.portrait.read_portrait`.
    """
    stored = store_picture(source)
    try:
        with stored.open() as file:
            return _decode(file, path=stored.path)
    except PortraitError:
        raise
    except Exception as error:  # the decoders of forty formats raise all kinds of things
        raise PortraitError(f"{stored} cannot be read as a picture: {_describe(error)}") from error


def is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does; it may still be cut short or too large."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _is_picture(file)
    except OSError:
        return False


def _is_picture(file: IO[bytes]) -> bool:
    from PIL import Image

    try:
        Image.open(_take_apart(file)[0])
    except Image.DecompressionBombError:
        return True
    except Exception:  # what is no picture makes decoders raise all kinds of things
        return False
    return True


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise PortraitError(f"{path} is a folder: name a picture file")
    if not path.exists():
        raise PortraitError(f"{path}: there is no such picture")


def _decode(file: IO[bytes], *, path: Path) -> Picture:
    from PIL import Image, UnidentifiedImageError

    source, parts = _take_apart(file)
    with warnings.catch_warnings():
        # Pillow warns of large sizes that are allowed here, and of odd metadata that no
        # user can mend.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(source)
            _check_format(image, path=path)
            _check_pixels(image, path=path)
            return _finish(_load(image, parts), parts)
        except Image.DecompressionBombError:
            raise PortraitError(
                f"{path} has more than {MOST_PIXELS // 10**6} megapixels: scale it down first"
            ) from None
        except UnidentifiedImageError:
            source.seek(0)
            reason = _name_format(source.read(_HEAD_BYTES))
            raise PortraitError(f"{path} cannot be read as a picture: {reason}") from None


def _take_apart(file: IO[bytes]) -> tuple[IO[bytes], PictureParts | None]:
    """What Pillow is to read, and the parts where they were told apart here."""
    start = file.read(_HEAD_BYTES)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not is_split(start) or size > MOST_BYTES:
        return file, None
    content = file.read()
    parts = split_picture(content)
    return BytesIO(content if parts is None else parts.pixels), parts


def _check_format(image: Image, *, path: Path) -> None:
    if image.format == "EPS":  # Pillow would start Ghostscript, if there is one, to run it
        raise PortraitError(f"{path} is EPS, a program that draws; save it as PNG")
    if image.format == "TIFF":
        _silence_tiff()


@functools.cache
def _silence_tiff() -> None:
    """Keep libtiff from printing what Pillow then raises; where it cannot be reached, it prints."""
    from PIL import _imaging

    with suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _check_pixels(image: Image, *, path: Path) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise PortraitError(
            f"{path} is {image.width}x{image.height}, more than {MOST_PIXELS // 10**6} "
            "megapixels: scale it down first"
        )


def _load(image: Image, parts: PictureParts | None) -> Image:
    try:
        image.load()
    except OSError:
        whole = None
        if parts is not None and image.format == "JPEG":
            whole = decode_without_end(parts.pixels)
        if whole is None:
            raise
        return whole
    return image


def _finish(image: Image, parts: PictureParts | None) -> Picture:
    """Turned upright, in sRGB, over white."""
    if parts is None:
        parts = _find_parts(image)
    orientation = find_orientation(parts.exif, parts.xmp)
    if orientation != UPRIGHT:
        image = image.transpose(_undo_turn(orientation))
    return _to_rgb(image, profile=parts.profile)


def _find_parts(image: Image) -> PictureParts:
    """What Pillow found in a format that is not taken apart here."""
    found = {key: image.info.get(key) for key in ("exif", "xmp", "icc_profile")}
    notes = {key: note if isinstance(note, bytes) else b"" for key, note in found.items()}
    profile = notes["icc_profile"][: MOST_PROFILE_BYTES + 1]
    if len(profile) > MOST_PROFILE_BYTES:
        profile = b""
    return PictureParts(b"", notes["exif"], notes["xmp"], profile)


def _undo_turn(orientation: int) -> Transpose:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }[orientation]


def _to_rgb(image: Image, *, profile: bytes) -> Picture:
    from PIL import Image

    if image.mode.startswith("I"):  # Pillow would clip 16-bit grey at 255 instead of scaling it
        deep = np.asarray(image).clip(0, 65535).astype(np.uint32)
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats; save it with 8 bits a channel")
    alpha = None
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        image = _take_off_alpha(image)
    image = convert_to_srgb(image, profile)
    image = image if image.mode == "RGB" else image.convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=alpha)
        image = white
    return np.asarray(image)


def _take_off_alpha(image: Image) -> Image:
    """The colours alone, in the mode that the picture's profile is made for."""
    if image.mode in ("LA", "L"):
        return image.getchannel("L")
    return image.convert("RGBA").convert("RGB")


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


def _name_format(head: bytes) -> str:
    """What is no readable picture, by its first bytes, and what to do."""
    if not head:
        return "it is empty"
    if head[4:8] == b"ftyp":
        return _name_brand(head)
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    for familiar, reason in _FAMILIAR_STARTS.items():
        if start[: len(familiar)].lower() == familiar.lower():
            return reason
    return "its format is not known"


def _name_brand(head: bytes) -> str:
    brands = [head[place : place + 4] for place in range(8, len(head) - 3, 4)]
    if b"avif" in brands or b"avis" in brands:
        return "it is AVIF, which this Pillow cannot read; save it as JPEG or PNG"
    if any(brand in _HEIC_BRANDS for brand in brands[:1]):
        return (
            "it is HEIC, as iPhones take pictures, and HEIC is not read here; save or export it "
            "as JPEG or PNG"
        )
    return "it is a video or sound file, no picture; save one of its frames as PNG"
