"""A network's graph or engine of a bundle, judged by what the manifest says of its files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from echoexport.runtime.bundle.judging.judge import judge_graph, judge_optimized_graph
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import BundleError

__all__ = ["judge_network"]

_ONNX = ".onnx"


def judge_network(
    folder: Path, manifest: Manifest, *, name: str, file: str, data: bytes | None = None
) -> None:
    """Refuse a file that a network is to be opened from, where it is no graph of ours.

    ``data`` are the bytes of ``file`` that an engine will be given; None reads them.
    Engines in a library's own format are passed over: they are known by their hash and
    their machine alone.

    Raises:
        BundleError: what speaks against the file, or it cannot be read.
    """
    entry = manifest.networks[name]
    path = folder / file
    spec = entry.describe(name)
    compiled = None if manifest.compiled is None else manifest.compiled.engines[name]
    if compiled is None:
        own = next((backend for backend, one in entry.graphs.items() if one == file), "")
        judge_graph(
            _read(path) if data is None else data,
            spec,
            path=path,
            weights_name=_name_beside(path, file, entry.weights),
            weights_bytes=manifest.files[entry.weights].bytes,
            own=own if file != entry.graph else "",
        )
    elif file.endswith(_ONNX):
        beside = compiled.files[1] if len(compiled.files) > 1 else ""
        judge_optimized_graph(
            _read(path) if data is None else data,
            spec,
            path=path,
            weights_name=_name_beside(path, file, beside) if beside else "",
            weights_bytes=manifest.files[beside].bytes if beside else 0,
        )


def _name_beside(path: Path, file: str, weights: str) -> str:
    """What a graph calls the file of its weights, which lies in the same folder."""
    place = PurePosixPath(weights)
    if place.parent != PurePosixPath(file).parent:
        raise BundleError(
            f"{path}: its weights {weights!r} lie in another folder; build the bundle again"
        )
    return place.name


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
