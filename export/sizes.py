"""From an architecture, a picture size and a window to the shapes of the networks."""

from __future__ import annotations

from echoexport.export.architecture import Architecture, UNetArchitecture
from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_FRAME
from echoexport.runtime.contract.families.echomimic_v1 import (
    FAMILY,
    LIVE_ROWS,
    LiveSizes,
    MotionTap,
    NetworkSizes,
    ReferenceTap,
)
from echoexport.runtime.errors import SettingError


def size_networks(
    a: Architecture, *, size: tuple[int, int], frames: int, face: str, live: bool = False
) -> NetworkSizes:
    """Shapes for pictures of ``size`` (width, height) pixels and windows of ``frames``.

    ``face`` names a drive of the family; ``live`` adds the networks for live.

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
        live=_size_live(a, (latent_height, latent_width), frames) if live else None,
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


def _size_live(a: Architecture, sides: tuple[int, int], frames: int) -> LiveSizes:
    """A window of the same length, of which the last third is new.

    Measured on the demo character: with half of it new lip-sync stays, but a frame waits
    longer; with a sixth, faces drift.
    """
    new = max(1, frames // 3)
    rows = min(LIVE_ROWS, a.audio.context)
    return LiveSizes(
        new_frames=new,
        past_frames=frames - new,
        audio_rows=rows,
        kept_rows=ROWS_PER_FRAME,
        motion=size_motion(a.unet, *sides),
    )


def size_taps(a: UNetArchitecture, height: int, width: int) -> tuple[ReferenceTap, ...]:
    """Every transformer of the UNet in the order they run, for latents of those sides."""
    places = _list_places(a, "attentions", down=a.down_attention, up=a.up_attention, mid=True)
    tokens = _count_positions(a, height, width)
    return tuple(ReferenceTap(path, tokens[level], a.widths[level]) for path, level in places)


def size_motion(a: UNetArchitecture, height: int, width: int) -> tuple[MotionTap, ...]:
    """Every temporal attention of the UNet in the order they run, for latents of those sides."""
    motion = a.motion
    if motion is None:
        return ()
    places = _list_places(a, "motion_modules", down=motion.down, up=motion.up, mid=motion.mid)
    positions = _count_positions(a, height, width)
    return tuple(
        MotionTap(f"{path}.{number}", positions[level], a.widths[level])
        for path, level in places
        for number in range(motion.transformer_blocks * motion.attention_blocks)
    )


def _list_places(
    a: UNetArchitecture, kind: str, *, down: tuple[bool, ...], mid: bool, up: tuple[bool, ...]
) -> list[tuple[str, int]]:
    """Path and level of every module of a kind, finest level 0, in the order they run."""
    last = len(a.widths) - 1
    places = [
        (f"down_blocks.{i}.{kind}.{j}", i)
        for i, has in enumerate(down)
        if has
        for j in range(a.layers_per_block)
    ]
    places += [(f"mid_block.{kind}.0", last)] * mid
    places += [
        (f"up_blocks.{i}.{kind}.{j}", last - i)
        for i, has in enumerate(up)
        if has
        for j in range(a.layers_per_block + 1)
    ]
    return places


def _count_positions(a: UNetArchitecture, height: int, width: int) -> list[int]:
    """Of the latents' grid at each level, finest first."""
    positions = []
    for _ in a.widths:
        positions.append(height * width)
        height = (height + 1) // 2
        width = (width + 1) // 2
    return positions
