"""Which part of a portrait is the face: a given box, a face that is found, or all of it."""

from __future__ import annotations

from pathlib import Path

from echoexport.runtime.inputs.faces import detect_face
from echoexport.runtime.inputs.portrait import (
    Box,
    FaceCrop,
    crop_face,
    read_portrait,
    whole_picture,
)
from echoexport.runtime.inputs.resize import Size

__all__ = ["choose_face"]


def choose_face(
    portrait: Path, size: Size, *, box: Box | None = None, model: Path | None = None
) -> tuple[FaceCrop, tuple[str, ...]]:
    """The portrait cropped to its face at ``size`` (width, height), and warnings.

    ``box``, in the portrait's pixels, wins over ``model``, the detector's file. Without
    either, or without a face in it, the whole picture is used and a warning says so.

    Raises:
        PortraitError: the picture, box or model cannot be used.
        MissingPackageError: no engine is installed that runs the model.
    """
    picture = read_portrait(portrait)
    if box is not None:
        return crop_face(picture, box, size=size), ()
    if model is None:
        warning = (
            "no face box and no face model: the whole picture is used "
            "(--face-box x0,y0,x1,y1 or --face-model)"
        )
        return whole_picture(picture, size=size), (warning,)
    face = detect_face(picture, model=model)
    if face is None:
        warning = (
            f"{portrait}: no face found: the whole picture is used "
            "(--face-box x0,y0,x1,y1 names one)"
        )
        return whole_picture(picture, size=size), (warning,)
    return crop_face(picture, face.corners, size=size), ()
