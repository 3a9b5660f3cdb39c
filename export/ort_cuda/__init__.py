"""A network's graph as ONNX Runtime's CUDA provider runs it quickest.

Channels-last, in that library's own operators.

For that provider alone; a bundle's graphs hold plain operators, which every other
engine fuses by itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from echoexport.runtime.contract.manifest import Manifest
from echoexport.targets.spec import TargetSpec

if TYPE_CHECKING:
    import onnx

GRAPHS_FOR = "ort_cuda"
"""The backend whose operators these are."""


def add_own_graphs(manifest: Manifest, folder: Path, *, target: TargetSpec) -> Manifest:
    """Write each network's graph for the CUDA provider, for targets that know that backend.

    Networks that :func:`specialize` has nothing for stay with the plain one. Gives the
    manifest with the files.
    """
    from echoexport.calibration.graphs.float_graph import FloatGraph
    from echoexport.runtime.bundle.files import describe_file

    if GRAPHS_FOR not in (target.backends.default, *target.backends.portable):
        return manifest
    networks = dict(manifest.networks)
    files = dict(manifest.files)
    for name, entry in manifest.networks.items():
        model, used = specialize(FloatGraph(folder / entry.graph).model)
        if used:
            own = f"{name}.{GRAPHS_FOR}.onnx"
            (folder / own).write_bytes(model.SerializeToString(deterministic=True))
            networks[name] = replace(entry, graphs={**entry.graphs, GRAPHS_FOR: own})
            files[own] = describe_file(folder / own)
    return replace(manifest, networks=networks, files=files)


def specialize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Counter[str]]:
    """A copy of a graph for ONNX Runtime's CUDA provider.

    And how often it uses which of that library's own operators.

    It reads the same weights by the same names, and gives the same within a precision's
    rounding. A graph that is quantized or computes in more than one float type is given
    back as it is: casts break its chains.
    """
    from echoexport.export.graphs.edited_graph import EditedGraph
    from echoexport.export.ort_cuda.attention import fuse_attention
    from echoexport.export.ort_cuda.channels_last import lay_channels_last
    from echoexport.export.ort_cuda.fusions import fuse
    from echoexport.runtime.contract.operators import MICROSOFT

    if any(node.op_type in ("Cast", "CastLike", "DequantizeLinear") for node in model.graph.node):
        return model, Counter()
    graph = EditedGraph(model)
    fuse_attention(graph)
    lay_channels_last(graph)
    fuse(graph)
    result = graph.finish()
    return result, Counter(node.op_type for node in result.graph.node if node.domain == MICROSOFT)
