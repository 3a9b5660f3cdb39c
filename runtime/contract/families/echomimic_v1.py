"""EchoMimic v1: a portrait with a still mask or pose maps, six networks and two for live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from echoexport.runtime.contract.family import Drive, Family
from echoexport.runtime.contract.spec import PRECISIONS, TOLERANCES, SubnetSpec, TensorSpec

FAMILY = Family(
    name="echomimic-v1",
    networks=(
        "vae_encoder",
        "reference_unet",
        "landmark_encoder",
        "audio_encoder",
        "denoising_unet",
        "vae_decoder",
        "audio_encoder_live",
        "denoising_unet_live",
    ),
    drives=(
        Drive("mask", network="landmark_encoder", channels=1, every_frame=False),
        Drive("pose", network="landmark_encoder", channels=3, every_frame=True),
    ),
    optional=frozenset({"audio_encoder_live", "denoising_unet_live"}),
    shares={"audio_encoder_live": "audio_encoder", "denoising_unet_live": "denoising_unet"},
)

LIVE_ROWS = 225
"""Rows that the live audio encoder hears: 4.5 s, at places 0 to 224 of the position table."""


@dataclass(frozen=True)
class ReferenceTap:
    """One transformer whose keys and values the reference UNet hands to the denoiser."""

    path: str
    """Its name within the UNet."""
    tokens: int
    """How many there are."""
    width: int
    """Of a key or a value."""


@dataclass(frozen=True)
class MotionTap:
    """One temporal attention, whose normed features of past frames are a live stream's state."""

    path: str
    """Its motion module's name within the UNet, and its number there."""
    positions: int
    """Of the latents' grid at its level."""
    width: int
    """Of a feature."""


@dataclass(frozen=True)
class LiveSizes:
    """What the two networks for live depend on beside the others' sizes."""

    new_frames: int
    """Which one call of the denoiser advances."""
    past_frames: int
    """Whose features it takes and gives."""
    audio_rows: int
    """Rows that the audio encoder hears."""
    kept_rows: int
    """Of these, which it gives."""
    motion: tuple[MotionTap, ...]
    """Temporal attentions of the denoiser in the order they run; none where it has no
    motion modules, and then no network for live."""


@dataclass(frozen=True)
class NetworkSizes:
    """Every number that the networks' shapes depend on."""

    height: int
    """Of a picture, in pixels."""
    width: int
    """Of a picture, in pixels."""
    picture_channels: int
    """Of a picture."""
    frames: int
    """Of a window."""
    latent_channels: int
    """Of the latents."""
    latent_height: int
    """Of the latents."""
    latent_width: int
    """Of the latents."""
    time_width: int
    """Of the timestep's embedding, and of the face feature."""
    mels: int
    """Channels of the log-mel."""
    audio_context: int
    """Rows of the audio encoder's output (half the mel columns)."""
    audio_states: int
    """Stacked states."""
    audio_tokens: int
    """Of one frame."""
    audio_width: int
    """Of an audio token."""
    face_channels: int
    """Of a mask or a pose map."""
    face_frames: int
    """Frames of the face feature, 1 for a still mask, ``frames`` for pose maps."""
    reference: tuple[ReferenceTap, ...]
    """Transformers of the reference UNet, in its order."""
    live: LiveSizes | None = None
    """None for a bundle without the networks for live."""


def describe_networks(sizes: NetworkSizes, *, precision: str) -> dict[str, SubnetSpec]:
    """The six specs at these sizes, then the two for live where ``sizes`` has them.

    ``precision`` ("fp32" or "fp16") gives the dtype of every tensor.
    """
    dtype = PRECISIONS[precision]
    specs = {}
    for name, inputs, outputs in _tables(sizes):
        ins, outs = (
            tuple(TensorSpec(n, dtype, tuple(axes.items())) for n, axes in t.items())
            for t in (inputs, outputs)
        )
        specs[name] = SubnetSpec(name, ins, outs, TOLERANCES)
    return specs


_Table = dict[str, dict[str, int]]


def _tables(s: NetworkSizes) -> Iterator[tuple[str, _Table, _Table]]:
    picture = {"batch": 1, "channels": s.picture_channels, "height": s.height, "width": s.width}
    sides = {"latent_height": s.latent_height, "latent_width": s.latent_width}
    latent = {"batch": 1, "latent_channels": s.latent_channels, **sides}
    clip = {"batch": 1, "latent_channels": s.latent_channels, "frames": s.frames, **sides}
    mel = {"batch": 1, "mels": s.mels, "columns": 2 * s.audio_context}
    states = {
        "batch": 1,
        "states": s.audio_states,
        "rows": s.audio_context,
        "audio_width": s.audio_width,
    }
    face_map = {"batch": 1, "channels": s.face_channels, "height": s.height, "width": s.width}
    feature = {"batch": 1, "feature_width": s.time_width, **sides}
    keys_values = {
        f"reference_{kind}.{tap.path}": {"batch": 1, "tokens": tap.tokens, "width": tap.width}
        for tap in s.reference
        for kind in ("key", "value")
    }
    yield "vae_encoder", {"picture": picture}, {"latents": latent}
    yield "reference_unet", {"latents": latent}, keys_values
    yield "landmark_encoder", {"face_map": face_map}, {"face_feature": feature}
    yield "audio_encoder", {"log_mel": mel}, {"audio_states": states}
    inputs = _tabulate_conditions(s, frames=s.frames, face_frames=s.face_frames)
    yield "denoising_unet", {**inputs, **keys_values}, {"velocity": clip}
    yield "vae_decoder", {"latents": latent}, {"picture": picture}
    if s.live is not None:
        yield _tabulate_live_audio(s, s.live)
        if s.live.motion:
            yield _tabulate_live_denoiser(s, s.live, keys_values)


def _tabulate_conditions(s: NetworkSizes, *, frames: int, face_frames: int) -> _Table:
    """What a denoiser of so many frames takes, but for the reference."""
    sides = {"latent_height": s.latent_height, "latent_width": s.latent_width}
    return {
        "latents": {"batch": 1, "latent_channels": s.latent_channels, "frames": frames, **sides},
        "timestep_sinusoid": {"batch": 1, "time_width": s.time_width},
        "audio_tokens": {
            "batch": 1,
            "frames": frames,
            "tokens": s.audio_tokens,
            "audio_width": s.audio_width,
        },
        "face_feature": {
            "batch": 1,
            "feature_width": s.time_width,
            "face_frames": face_frames,
            **sides,
        },
        "reference_gate": {"batch": 1},
    }


def _tabulate_live_audio(s: NetworkSizes, live: LiveSizes) -> tuple[str, _Table, _Table]:
    """The last row reads two columns beyond its own, hence the odd one."""
    mel = {"batch": 1, "mels": s.mels, "columns": 2 * live.audio_rows + 1}
    chosen = {"batch": 1, "rows": live.kept_rows, "heard_rows": live.audio_rows}
    states = {
        "batch": 1,
        "states": s.audio_states,
        "rows": live.kept_rows,
        "audio_width": s.audio_width,
    }
    inputs = {"log_mel": mel, "chosen_rows": chosen}
    return "audio_encoder_live", inputs, {"audio_states": states}


def _tabulate_live_denoiser(
    s: NetworkSizes, live: LiveSizes, keys_values: _Table
) -> tuple[str, _Table, _Table]:
    """As the denoiser's, for the new frames; each ``kept`` is the next call's ``past``."""
    face_frames = min(s.face_frames, live.new_frames)
    inputs = _tabulate_conditions(s, frames=live.new_frames, face_frames=face_frames)
    past: _Table = {"past_gate": {"batch": 1, "past_frames": live.past_frames}}
    kept: _Table = {"velocity": inputs["latents"]}
    for tap in live.motion:
        axes = {"positions": tap.positions, "width": tap.width}
        features = {"batch": 1, "past_frames": live.past_frames, **axes}
        past[f"past.{tap.path}"] = features
        kept[f"kept.{tap.path}"] = features
    return "denoising_unet_live", {**inputs, **keys_values, **past}, kept
