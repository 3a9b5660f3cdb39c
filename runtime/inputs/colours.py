"""Converts a picture's colours to sRGB as its embedded colour profile says."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["convert_to_srgb"]

SAME_LEVELS = 1  # of 255; a profile that moves no colour by more is sRGB under another name

_GREY_MODES = ("1", "L")
_PROBE_STEPS = 18  # levels 0, 15, 30 ... 255 of each channel


def convert_to_srgb(image: Image, profile: bytes) -> Image:
    """The picture as RGB in sRGB; itself where the profile is empty, broken, or sRGB's.

    A profile for other colours than the picture's counts as broken: its writer left an
    older one in place. Transparency must have been taken off before.
    """
    if not profile:
        return image
    try:
        from PIL import ImageCms

        source: Any = ImageCms.ImageCmsProfile(BytesIO(profile))
    except (ImportError, OSError):  # a Pillow without littleCMS; no profile at all
        return image
    try:
        return _convert(image, source)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _convert(image: Image, source: Any) -> Image:
    from PIL import ImageCms

    taken = _prepare(image, space=source.profile.xcolor_space.strip())
    if taken is None:
        return image
    # The intent is perceptual, as in browsers: it is what a press profile is made for.
    target: Any = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, taken.mode, "RGB")
    return image if _changes_nothing(transform, mode=taken.mode) else transform.apply(taken)


def _prepare(image: Image, *, space: str) -> Image | None:
    """The picture in the mode that a profile of a colour space takes, None where it has none."""
    if space == "GRAY" and image.mode in _GREY_MODES:
        return image.convert("L")
    if space == "CMYK" and image.mode == "CMYK":
        return image
    if space == "RGB" and image.mode != "CMYK":
        return image.convert("RGB")
    return None


def _changes_nothing(transform: Any, *, mode: str) -> bool:
    from PIL import Image

    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, _PROBE_STEPS).astype(np.uint8)
    if mode == "L":
        probe = levels[None]
        wanted = np.repeat(probe[..., None], 3, axis=2)
    else:
        probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        wanted = probe
    found = np.asarray(transform.apply(Image.fromarray(probe)))
    return bool(np.abs(found.astype(int) - wanted).max() <= SAME_LEVELS)
