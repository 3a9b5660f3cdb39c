"""Bundles for the null backend, graphs and cache entries: honest ones, and what reads them."""

from __future__ import annotations

import atexit
import functools
import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from fixtures.graph_bytes import (
    WrittenGraph,
    write_constant,
    write_graph_of,
    write_node,
    write_parameter,
    write_value,
)
from fixtures.null_bundles import size_null, write_null_bundle
from fuzz.commands import Workplace
from fuzz.mutations import mutate_json
from fuzz.readers import hash_arrays

KEY = "ab" * 32
_WEIGHTS = "small.bin"
_WEIGHT_BYTES = 192


def make_manifests() -> Iterator[bytes]:
    """Of bundles that a mask drives, and poses."""
    for face in ("mask", "pose"):
        with tempfile.TemporaryDirectory() as folder:
            bundle = write_null_bundle(Path(folder) / "b", face=face, frames=4, side=32)
            yield (bundle / "manifest.json").read_bytes()


def mutate_sealed(content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
    """A manifest with another check sum, so that what it says is looked at."""
    from echoexport.runtime.contract.checksum import CHECKSUM, compute_checksum

    mutated = mutate_json(content, draw, others=others)
    try:
        data = json.loads(mutated)
        data[CHECKSUM] = compute_checksum(data)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return mutated
    return json.dumps(data).encode()


def read_manifest_file(content: bytes, folder: Path) -> str:
    """The frames of a bundle with this manifest, or that it is driven by poses."""
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.inputs.voice import voice_from_samples
    from echoexport.runtime.rendering.session import Session
    from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

    bundle = _copy_bundle("pose" if b'"pose_acc"' in content else "mask", folder / "bundle")
    (bundle / "manifest.json").write_bytes(content)
    voice = voice_from_samples(np.zeros(8000, np.int16))
    with open_bundle(bundle) as opened:
        size = (opened.manifest.picture.height, opened.manifest.picture.width)
        picture = np.zeros((*size, 3), np.uint8)
        poses = [np.zeros((3, *size), np.float32)] * 4
        inputs = RenderInputs(picture, voice, mask=np.full(size, 255, np.uint8), poses=poses)
        with Session(opened) as session:
            clip = session.start(inputs, RenderSettings(frames=3, fps=Fraction(24)))
            return hash_arrays(clip)


@functools.cache
def _keep_bundle(face: str) -> Path:
    kept = tempfile.TemporaryDirectory()
    atexit.register(kept.cleanup)
    return write_null_bundle(Path(kept.name) / "b", face=face, frames=4, side=32)


def _copy_bundle(face: str, place: Path) -> Path:
    return Path(shutil.copytree(_keep_bundle(face), place))


def name_manifest(at: Workplace, content: Path) -> list[str]:
    """A bundle's manifest."""
    posed = b'"pose_acc"' in content.read_bytes()
    bundle = _copy_bundle("pose" if posed else "mask", content.with_name("bundle"))
    content.rename(bundle / "manifest.json")
    return ["inspect", str(bundle)]


def make_graphs() -> Iterator[bytes]:
    """A small graph with weights beside it; a network's of the null bundle."""
    yield _write_small().write()
    specs = _describe_networks()
    yield write_graph_of(specs["denoising_unet"])


def _write_small() -> WrittenGraph:
    return WrittenGraph(
        nodes=[
            write_node("MatMul", ["noise", "weight"], ["between"]),
            write_node("Add", ["between", "bias"], ["product"]),
        ],
        tensors=[
            write_parameter("weight", [4, 8], location=_WEIGHTS, offset=64, length=128),
            write_constant("bias", [0.5] * 8, shape=[8]),
        ],
        inputs=[write_value("noise", [2, 4])],
        outputs=[write_value("product", [2, 8])],
        values=[write_value("between", [2, 8])],
    )


@functools.cache
def _describe_networks() -> dict[str, Any]:
    from echoexport.runtime.contract.families.echomimic_v1 import describe_networks

    return describe_networks(size_null(face="mask", frames=4, side=32), precision="fp32")


@functools.cache
def _describe_small() -> Any:
    from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec

    noise = TensorSpec("noise", "float32", (("batch", 2), ("width", 4)))
    product = TensorSpec("product", "float32", (("batch", 2), ("width", 8)))
    return SubnetSpec("small", (noise,), (product,), TOLERANCES)


def read_graph(content: bytes, folder: Path) -> str:
    """What ONNX Runtime makes of a graph that the judge lets pass."""
    from echoexport.runtime.bundle.judging.judge import judge_graph

    spec = _describe_small() if b"noise" in content else _describe_networks()["denoising_unet"]
    path = folder / "small.onnx"
    path.write_bytes(content)
    (folder / _WEIGHTS).write_bytes(np.linspace(-1, 1, 48).astype("<f4").tobytes())
    judge_graph(content, spec, path=path, weights_name=_WEIGHTS, weights_bytes=_WEIGHT_BYTES)
    return hash_arrays(_run_graph(path, spec))


def _run_graph(path: Path, spec: Any) -> list[np.ndarray]:
    import onnxruntime

    from echoexport.runtime.errors import BackendError

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options)
        values = {one.name: np.ones(one.shape, one.dtype) for one in spec.inputs}
        return list(session.run(None, values))
    except Exception as error:  # as the backend does: the library raises a dozen kinds
        raise BackendError(f"{path}: {error}") from error


def draw_reference() -> dict[str, np.ndarray]:
    """A portrait's arrays, as networks give them."""
    draw = np.random.default_rng(0)
    return {
        "down_blocks.0/key": draw.standard_normal((1, 20, 10)).astype(np.float16),
        "face_feature": draw.standard_normal((1, 99)).astype(np.float32),
    }


def make_entries() -> Iterator[bytes]:
    """The file of one entry."""
    from echoexport.runtime.conditioning.reference_cache import ReferenceCache

    with tempfile.TemporaryDirectory() as folder:
        ReferenceCache(Path(folder)).put(KEY, draw_reference())
        yield (Path(folder) / f"{KEY}.reference").read_bytes()


def read_cache_entry(content: bytes, folder: Path) -> str:
    """The arrays that a run goes on with: the entry's, or computed anew where there is none."""
    from echoexport.runtime.conditioning.reference_cache import ReferenceCache

    (folder / f"{KEY}.reference").write_bytes(content)
    found = ReferenceCache(folder).get(KEY) or draw_reference()
    return hash_arrays(found.values())
