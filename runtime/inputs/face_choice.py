"""Which part of a portrait is the face: a given box, a face that is found, or its middle."""

from __future__ import annotations

from pathlib import Path

from echoexport.runtime.inputs.faces import detect_face
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.inputs.portrait import (
    Box,
    FaceCrop,
    crop_face,
    read_portrait,
    whole_picture,
)
from echoexport.runtime.inputs.resize import Picture, Size

__all__ = ["choose_face"]


def choose_face(
    portrait: str | Path | StoredPicture,
    size: Size,
    *,
    box: Box | None = None,
    model: Path | None = None,
) -> tuple[FaceCrop, tuple[str, ...]]:
    """The portrait cropped to its face at ``size`` (width, height), and warnings.

    ``box``, in the portrait's pixels, wins over ``model``, the detector's file. Without
    either, or without a face in it, the picture's middle is used, all of it where it has
    the shape of ``size``, and a warning says so.

    Raises:
        PortraitError: the picture, box or model cannot be used.
        MissingPackageError: no engine is installed that runs the model.
    """
    picture = read_portrait(portrait)
    if box is not None:
        return crop_face(picture, box, size=size), ()
    if model is None:
        doubt = "no face box and no face model"
        remedy = "--face-box x0,y0,x1,y1 or --face-model"
    else:
        face = detect_face(picture, model=model)
        if face is not None:
            return crop_face(picture, face.corners, size=size), ()
        doubt = f"{portrait}: no face found"
        remedy = "--face-box x0,y0,x1,y1 names one"
    crop = whole_picture(picture, size=size)
    return crop, (f"{doubt}: {_name_part(crop, picture)} is used ({remedy})",)


def _name_part(crop: FaceCrop, picture: Picture) -> str:
    """What is used of a picture without a known face, in words."""
    x0, y0, x1, y1 = crop.rect
    if (y1 - y0, x1 - x0) == picture.shape[:2]:
        return "the whole picture"
    return "the middle square of the picture" if x1 - x0 == y1 - y0 else "the middle of the picture"
