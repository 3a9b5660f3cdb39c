"""The contract of the six networks: their names, tensors, axes and tolerances, stated once.

Export, calibration, parity, profiling and the manifest all read them from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NETWORKS = (
    "vae_encoder",
    "reference_unet",
    "landmark_encoder",
    "audio_encoder",
    "denoising_unet",
    "vae_decoder",
)

PRECISIONS = {"fp32": "float32", "fp16": "float16"}
"""Precisions with one dtype throughout, and that dtype."""

STORED = (*PRECISIONS, "int8")
"""What a network may be stored in. "int8": layers with int8 weights and Q/DQ, tensors
in float32 or float16 around."""

ARITHMETIC = ("fp32", "bf16")
"""What an engine may be told to compute in where a graph leaves it the choice."""

# Largest difference allowed between an engine and the fp32 torch module on the
# self-test inputs, relative to the largest absolute value of each output. fp32: 2e-5
# measured, with room for other kernels' summation order. fp16: 5e-4 to 6e-3 measured on
# the reference weights. bf16: 3e-3 to 5e-2 measured on the demo character; wrong
# kernels, which it guards against, are off by 0.8 and more. int8: 4e-3 to 0.28 measured
# there with plain min-max ranges on every layer, the coarsest that is of use (22 dB); a
# fault, and not mere rounding, is expected to be off by about the whole range, as
# bf16's were.
TOLERANCES = {"fp32": 5e-4, "fp16": 3e-2, "bf16": 1.5e-1, "int8": 3.5e-1}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Its name, numpy dtype name, and axes as (name, size) from the outermost in.
    """

    name: str
    dtype: str
    axes: tuple[tuple[str, int], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(size for _, size in self.axes)


@dataclass(frozen=True)
class SubnetSpec:
    """One network: named tensors in and out, the tolerance each precision is held to, and what it is stored in."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerances: Mapping[str, float]
    precision: str = ""
    """One of ``STORED``; "" is read off the dtype of the inputs."""

    @property
    def stored(self) -> str:
        """What it is stored in: "fp32", "fp16" or "int8"."""
        return self.precision or next(
            name for name, dtype in PRECISIONS.items() if dtype == self.inputs[0].dtype
        )

    def computed_in(self, arithmetic: str) -> str:
        """What an engine of this network computes in when told so.

        "fp32", "fp16", "bf16", "int8" or "int8+bf16".
        """
        if arithmetic == "fp32":
            return self.stored
        return f"int8+{arithmetic}" if self.stored == "int8" else arithmetic


@dataclass(frozen=True)
class ReferenceTap:
    """One transformer whose keys and values the reference UNet hands to the denoiser."""

    path: str
    tokens: int
    width: int


@dataclass(frozen=True)
class NetworkSizes:
    """Every number that the networks' shapes depend on."""

    height: int
    width: int
    picture_channels: int
    frames: int
    latent_channels: int
    latent_height: int
    latent_width: int
    time_width: int
    mels: int
    audio_context: int
    """Rows of the audio encoder's output (half the mel columns)."""
    audio_states: int
    """Stacked states."""
    audio_tokens: int
    audio_width: int
    face_channels: int
    face_frames: int
    """Frames of the face feature, 1 for a still mask, ``frames`` for pose maps."""
    reference: tuple[ReferenceTap, ...]


def find_tolerance(tolerances: Mapping[str, float], precision: str) -> float:
    """What an engine that computes in ``precision`` is held to.

    Of "int8+bf16" the coarser part's.
    """
    return max(tolerances.get(part, TOLERANCES[part]) for part in precision.split("+"))


def describe_arithmetic(computed: Mapping[str, str]) -> str:
    """What the networks compute in as one phrase, from ``Bundle.arithmetic``.

    "bf16", or "mixed: int8 (a, b), ...".
    """
    kinds = sorted(set(computed.values()))
    if len(kinds) == 1:
        return kinds[0]
    groups = (
        f"{kind} ({', '.join(name for name, its in computed.items() if its == kind)})"
        for kind in kinds
    )
    return f"mixed: {', '.join(groups)}"


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
