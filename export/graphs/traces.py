"""Traced graphs kept on disk by topology and shapes.

Weights never take part, so one trace serves many checkpoints.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from echoexport.export.architecture import Architecture
from echoexport.export.subnets.graph_builder import TRANSPOSED
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.files.sealed_file import read_sealed, write_sealed

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Trace:
    """A network's graph, and whether it came from the cache."""

    model: onnx.ModelProto
    cached: bool


def find_trace(spec: SubnetSpec, architecture: Architecture, *, folder: Path | None) -> Trace:
    """The network's graph.

    From ``folder`` where an equal one was traced before, else traced now and kept
    there.

    ``folder`` None neither looks nor keeps. A broken file in the cache counts as none.

    Raises:
        GraphError: the network cannot be traced.
    """
    path = None if folder is None else folder / f"{spec.name}-{trace_key(spec, architecture)}.trace"
    model = None if path is None else _load(path)
    if model is not None:
        return Trace(model, cached=True)
    from echoexport.export.subnets.tracing import trace_network

    model = trace_network(spec, architecture)
    if path is not None:
        _store(model, path)
    return Trace(model, cached=False)


def trace_key(spec: SubnetSpec, architecture: Architecture) -> str:
    """What a trace depends on.

    The network's sizes, its tensors, our own code, and the tracer's version.
    """
    parts = {
        "vae_encoder": architecture.vae,
        "vae_decoder": architecture.vae,
        "reference_unet": architecture.unet,
        "denoising_unet": architecture.unet,
        "audio_encoder": architecture.audio,
        "landmark_encoder": architecture.landmark,
    }
    texts = [
        spec.name,
        repr(parts[FAMILY.owner_of(spec.name)]),
        repr((spec.inputs, spec.outputs)),
        _source_digest(),
    ]
    texts.append(importlib.metadata.version("torch"))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


SOURCES = Path(__file__).parent.with_name("subnets")
"""The folder of the code that makes a trace what it is."""


def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _load(path: Path) -> onnx.ModelProto | None:
    import onnx

    try:
        content = read_sealed(path, key=path.name)
    except OSError:
        return None
    if content is None:
        return None
    try:
        model = onnx.load_from_string(bytes(content))
    except Exception:  # protobuf raises its own kinds; whatever is wrong, tracing anew mends it
        return None
    complete = any(entry.key == TRANSPOSED for entry in model.metadata_props)
    return model if complete and model.graph.node and model.graph.output else None


def _store(model: onnx.ModelProto, path: Path) -> None:
    """Keep a trace; a cache that cannot be written is no reason to fail."""
    with contextlib.suppress(OSError):
        write_sealed(path, model.SerializeToString(), key=path.name)
