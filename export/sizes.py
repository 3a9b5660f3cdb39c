"""From an architecture, a picture size and a window to the shapes of the six networks."""

from __future__ import annotations

from echoexport.export.architecture import Architecture, UNetArchitecture
from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_FRAME
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, NetworkSizes, ReferenceTap
from echoexport.runtime.errors import SettingError


def size_networks(
    a: Architecture, *, size: tuple[int, int], frames: int, face: str
) -> NetworkSizes:
    """Shapes for pictures of ``size`` (width, height) pixels and windows of ``frames``.

    ``face`` names a drive of the family.

    Raises:
        SettingError: a side that the VAE does not divide, or a window the motion
            modules cannot hold.
    """
    _check_sides(a, size)
    _check_window(a, frames)
    width, height = size
    latent_height = height // a.vae.downscale
    latent_width = width // a.vae.downscale
    return NetworkSizes(
        height=height,
        width=width,
        picture_channels=a.vae.picture_channels,
        frames=frames,
        latent_channels=a.vae.latent_channels,
        latent_height=latent_height,
        latent_width=latent_width,
        time_width=a.unet.time_width,
        mels=a.audio.mels,
        audio_context=a.audio.context,
        audio_states=a.audio.layers + 1,
        audio_tokens=ROWS_PER_FRAME * (a.audio.layers + 1),
        audio_width=a.audio.width,
        face_channels=a.landmark.in_channels,
        face_frames=frames if FAMILY.find_drive(face).every_frame else 1,
        reference=size_taps(a.unet, latent_height, latent_width),
    )


def _check_sides(a: Architecture, size: tuple[int, int]) -> None:
    unit = a.vae.downscale
    for name, side in zip(("width", "height"), size, strict=True):
        if side < 2 * unit or side % unit:
            nearest = max(2 * unit, round(side / unit) * unit)
            raise SettingError(
                f"{name} {side}: a multiple of {unit}, at least {2 * unit}, is wanted; try "
                f"{nearest}"
            )


def _check_window(a: Architecture, frames: int) -> None:
    longest = a.unet.motion.max_frames if a.unet.motion else 32
    if not 2 <= frames <= longest:
        raise SettingError(
            f"frames {frames}: the window holds 2 to {longest} frames (the motion modules' table)"
        )


def size_taps(a: UNetArchitecture, height: int, width: int) -> tuple[ReferenceTap, ...]:
    """Every transformer of the UNet in the order they run, for latents of those sides."""
    tokens = []
    last = len(a.widths) - 1
    for _ in a.widths:
        tokens.append(height * width)
        height = (height + 1) // 2
        width = (width + 1) // 2
    taps = [
        ReferenceTap(f"down_blocks.{i}.attentions.{j}", tokens[i], a.widths[i])
        for i, has in enumerate(a.down_attention)
        if has
        for j in range(a.layers_per_block)
    ]
    taps.append(ReferenceTap("mid_block.attentions.0", tokens[last], a.widths[last]))
    taps += [
        ReferenceTap(f"up_blocks.{i}.attentions.{j}", tokens[last - i], a.widths[last - i])
        for i, has in enumerate(a.up_attention)
        if has
        for j in range(a.layers_per_block + 1)
    ]
    return tuple(taps)
