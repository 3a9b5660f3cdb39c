"""What a checkpoint's networks look like.

Sizes as data, read from configs and tensor shapes, never assumed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionArchitecture:
    """Temporal attention of the denoising UNet.

    ``down``, ``mid`` and ``up`` say which blocks carry motion modules (the official
    files: all of them).
    """

    heads: int
    norm_groups: int
    max_frames: int
    attention_blocks: int
    transformer_blocks: int
    down: tuple[bool, ...]
    mid: bool
    up: tuple[bool, ...]


@dataclass(frozen=True)
class UNetArchitecture:
    """A dual-UNet member; ``heads`` and ``widths`` run from the finest level to the coarsest."""

    widths: tuple[int, ...]
    heads: tuple[int, ...]
    layers_per_block: int
    down_attention: tuple[bool, ...]
    up_attention: tuple[bool, ...]
    in_channels: int
    out_channels: int
    norm_groups: int
    norm_eps: float
    audio_width: int
    audio_ratio: float
    linear_projection: bool
    motion: MotionArchitecture | None

    @property
    def time_width(self) -> int:
        """Channels of the sinusoidal timestep embedding, which is the finest level's width."""
        return self.widths[0]

    @property
    def downscale(self) -> int:
        """How many times smaller the coarsest level's sides are."""
        return int(2 ** (len(self.widths) - 1))


@dataclass(frozen=True)
class VAEArchitecture:
    """AutoencoderKL; ``scaling`` multiplies the encoder's mean and divides the decoder's input."""

    widths: tuple[int, ...]
    layers_per_block: int
    picture_channels: int
    latent_channels: int
    norm_groups: int
    scaling: float

    @property
    def downscale(self) -> int:
        """Pixels per latent, along one side."""
        return int(2 ** (len(self.widths) - 1))


@dataclass(frozen=True)
class AudioArchitecture:
    """Whisper's encoder; ``context`` is the number of output rows (half the mel columns)."""

    mels: int
    context: int
    width: int
    heads: int
    layers: int


@dataclass(frozen=True)
class LandmarkArchitecture:
    """Face locator: a stem, then 3x3 convolutions of ``channels``.

    Every second one halves the sides.
    """

    in_channels: int
    stem: int
    channels: tuple[int, ...]
    out_channels: int

    @property
    def downscale(self) -> int:
        """Pixels per feature, along one side."""
        return int(2 ** (len(self.channels) // 2))


@dataclass(frozen=True)
class Architecture:
    """All six networks of one checkpoint and variant."""

    unet: UNetArchitecture
    vae: VAEArchitecture
    audio: AudioArchitecture
    landmark: LandmarkArchitecture
