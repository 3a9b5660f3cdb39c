"""What a calibration set says of itself: its source, its sampling and its samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from echoexport.runtime.contract.families import find_family
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.schema import dump

__all__ = [
    "SET_FORMAT",
    "SET_SCHEMA",
    "SampleEntry",
    "SetManifest",
    "SetSampling",
    "SetSource",
    "describe_source",
    "encode_manifest",
]

SET_FORMAT = "echoexport-calibration"
SET_SCHEMA = 1


@dataclass(frozen=True)
class SetSource:
    """The checkpoint that a set was recorded from, and at which size."""

    variant: str
    checkpoint: str
    checkpoint_files: Mapping[str, str]
    """Sha256 of the checkpoint's files."""
    weights: Mapping[str, str]
    """Sha256 of each network's fp32 weights."""
    width: int
    """Of the pictures in pixels."""
    height: int
    """Of the pictures in pixels."""
    frames: int
    """Of a window."""
    face: str
    """What drives the face: "mask" or "pose"."""


@dataclass(frozen=True)
class SetSampling:
    """How the set was rendered."""

    seed: int
    """Of the noise and of the draw."""
    steps: int
    guidance: float
    overlap: int
    """Frames that neighbouring windows share."""
    fps: float
    seconds: float
    """The most of a voice."""


@dataclass(frozen=True)
class SampleEntry:
    """One sample: see :class:`Sample`; ``inputs`` gives the name of each tensor's array."""

    network: str
    portrait: str
    voice: str
    step: int | None
    timestep: int | None
    window: int | None
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class SetManifest:
    """``set.json``: the same inputs, settings and engine give the same bytes.

    It holds no time and no path.
    """

    format: str
    """``SET_FORMAT``, so that nobody takes another file for it."""
    schema: int
    """``SET_SCHEMA`` of the release that wrote it."""
    made: str
    """The engine that rendered, not part of the digest."""
    source: SetSource
    """The checkpoint that was recorded."""
    sampling: SetSampling
    """How it was rendered."""
    portraits: Mapping[str, str]
    """sha256 of what the networks saw of each, by file name."""
    voices: Mapping[str, str]
    """The same of each voice."""
    poses: Mapping[str, str]
    """The same of each folder of poses."""
    counts: Mapping[str, int]
    """Samples of each network."""
    megabytes: float
    """The size of all arrays."""
    arrays: Mapping[str, int]
    """Bytes of each, by name, which is the start of its sha256."""
    samples: tuple[SampleEntry, ...]
    """Each network's are in an order whose beginning is spread over steps and portraits
    too."""

    @property
    def digest(self) -> str:
        """sha256 of all that the samples depend on and of the samples, in hex."""
        content = {key: value for key, value in dump(self).items() if key != "made"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe_source(manifest: Manifest) -> SetSource:
    """What identifies a bundle's checkpoint and sizes; networks that share weights add nothing."""
    shares = find_family(manifest.family).shares
    return SetSource(
        variant=manifest.variant,
        checkpoint=manifest.provenance.checkpoint,
        checkpoint_files={
            name: file.sha256 for name, file in sorted(manifest.provenance.checkpoint_files.items())
        },
        weights={
            name: manifest.files[entry.weights].sha256
            for name, entry in sorted(manifest.networks.items())
            if name not in shares
        },
        width=manifest.picture.width,
        height=manifest.picture.height,
        frames=manifest.window.frames,
        face=manifest.face,
    )


def encode_manifest(manifest: SetManifest) -> bytes:
    """``set.json``, the same bytes for the same manifest."""
    return (
        json.dumps({**dump(manifest), "digest": manifest.digest}, indent=1, ensure_ascii=False)
        + "\n"
    ).encode()
