"""EchoMimic v1: a portrait with a still mask or pose maps, six networks."""

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
    ),
    drives=(
        Drive("mask", network="landmark_encoder", channels=1, every_frame=False),
        Drive("pose", network="landmark_encoder", channels=3, every_frame=True),
    ),
)


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


def describe_networks(sizes: NetworkSizes, *, precision: str) -> dict[str, SubnetSpec]:
    """The six specs at these sizes.

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
    denoising_inputs: _Table = {
        "latents": clip,
        "timestep_sinusoid": {"batch": 1, "time_width": s.time_width},
        "audio_tokens": {
            "batch": 1,
            "frames": s.frames,
            "tokens": s.audio_tokens,
            "audio_width": s.audio_width,
        },
        "face_feature": {
            "batch": 1,
            "feature_width": s.time_width,
            "face_frames": s.face_frames,
            **sides,
        },
        "reference_gate": {"batch": 1},
        **keys_values,
    }
    yield "vae_encoder", {"picture": picture}, {"latents": latent}
    yield "reference_unet", {"latents": latent}, keys_values
    yield "landmark_encoder", {"face_map": face_map}, {"face_feature": feature}
    yield "audio_encoder", {"log_mel": mel}, {"audio_states": states}
    yield "denoising_unet", denoising_inputs, {"velocity": clip}
    yield "vae_decoder", {"latents": latent}, {"picture": picture}
