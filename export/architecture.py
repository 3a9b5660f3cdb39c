"""What a checkpoint's networks look like.

Sizes as data, read from configs and tensor shapes, never assumed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionArchitecture:
    """Temporal attention of the denoising UNet; in the official files every block has it."""

    heads: int
    """Of every temporal attention."""
    norm_groups: int
    """Of the norm before each module."""
    max_frames: int
    """Rows of the position table: the longest window."""
    attention_blocks: int
    """Temporal attentions in a block."""
    transformer_blocks: int
    """Blocks in a module."""
    down: tuple[bool, ...]
    """Whether each block on the way down has modules, finest first."""
    mid: bool
    """Whether the middle has one."""
    up: tuple[bool, ...]
    """Whether each block on the way up has modules, coarsest first."""


@dataclass(frozen=True)
class UNetArchitecture:
    """A dual-UNet member; ``heads`` and ``widths`` run from the finest level to the coarsest."""

    widths: tuple[int, ...]
    """Channels of each level, finest first."""
    heads: tuple[int, ...]
    """Attention heads of each level, finest first."""
    layers_per_block: int
    """Resnets of a block on the way down; one more on the way up."""
    down_attention: tuple[bool, ...]
    """Whether each block on the way down has transformers, finest first."""
    up_attention: tuple[bool, ...]
    """Whether each block on the way up has transformers, coarsest first."""
    in_channels: int
    """Of the noisy latents."""
    out_channels: int
    """Of the velocity."""
    norm_groups: int
    """Of every group norm."""
    norm_eps: float
    """Added to the variance in every group norm of a resnet."""
    audio_width: int
    """Of an audio token."""
    audio_ratio: float
    """By which the audio's attention is multiplied."""
    linear_projection: bool
    """Whether a transformer projects by Linear in place of a 1x1 convolution."""
    motion: MotionArchitecture | None
    """None for a UNet without motion modules."""

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
