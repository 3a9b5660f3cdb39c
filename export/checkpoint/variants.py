"""The four variants: which files they are made of and how the original samples them."""

from __future__ import annotations

from dataclasses import dataclass

from echoexport.runtime.errors import UnknownNameError


@dataclass(frozen=True)
class Variant:
    """Its files, what drives the face, and the sampler's defaults.

    The defaults are those of the original's inference scripts.
    """

    name: str
    """As the command line has it."""
    denoising: str
    """Stem of the denoising UNet's file."""
    motion: str
    """Stem of the motion modules' file."""
    reference: str
    """Stem of the reference UNet's file."""
    face_locator: str
    """Stem of the face locator's file."""
    face: str
    """What drives the face: "mask" or "pose"."""
    steps: int
    """Sampling steps."""
    guidance: float
    """Scale of classifier-free guidance; 1 is none."""
    noise_clamp: float | None
    """Initial noise is clamped to [-noise_clamp, noise_clamp], None for not at all."""
    window_shift: int
    """Frames by which the context windows move on at each step."""
    shared_noise: float = 0.0
    """Share of the initial noise's variance that all frames have in common; the
    original has none."""
    overlap: int = 3
    """Frames that neighbouring windows share."""
    hold: int = 0
    """See :class:`echoexport.runtime.contract.manifest.PictureSettings`."""


_ALL = (
    Variant(
        "base",
        "denoising_unet",
        "motion_module",
        "reference_unet",
        "face_locator",
        "mask",
        30,
        2.5,
        1.5,
        2,
    ),
    Variant(
        "acc",
        "denoising_unet_acc",
        "motion_module_acc",
        "reference_unet",
        "face_locator",
        "mask",
        6,
        1.0,
        1.5,
        2,
    ),
    Variant(
        "pose",
        "denoising_unet_pose",
        "motion_module_pose",
        "reference_unet_pose",
        "face_locator_pose",
        "pose",
        30,
        2.5,
        None,
        3,
    ),
    Variant(
        "pose_acc",
        "denoising_unet_pose_acc",
        "motion_module_pose_acc",
        "reference_unet_pose",
        "face_locator_pose",
        "pose",
        6,
        1.0,
        None,
        3,
    ),
)

VARIANTS = {variant.name: variant for variant in _ALL}


def find_variant(name: str) -> Variant:
    """The variant called ``name``.

    Raises:
        UnknownNameError: no variant goes by that name.
    """
    if name not in VARIANTS:
        raise UnknownNameError("variant", name, known=VARIANTS)
    return VARIANTS[name]
