"""Attention as ONNX Runtime's own operator computes what the plain operators do."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.ort_cuda.attention import fuse_attention
from echoexport.profiles.measuring.latency import read_self_test_inputs
from echoexport.runtime.bundle.network import compare_outputs
from echoexport.runtime.bundle.opened import open_bundle

ort = pytest.importorskip("onnxruntime")


def fuse(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """A copy with its attentions fused, and how many there were."""
    graph = EditedGraph(model)
    found = fuse_attention(graph)
    return graph.finish(), found


def count(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("network", ["denoising_unet", "reference_unet", "audio_encoder"])
def test_a_network_gives_the_same_with_every_attention_fused(
    build_tiny: Callable[..., Path], tmp_path: Path, network: str
) -> None:
    folder = build_tiny()
    plain = FloatGraph(folder / f"{network}.onnx").model
    fused, found = fuse(plain)
    assert found == count(plain)["Softmax"] > 0
    assert (count(fused)["MultiHeadAttention"], count(fused)["Softmax"]) == (found, 0)
    shutil.copy(folder / f"{network}.bin", tmp_path)
    (tmp_path / f"{network}.onnx").write_bytes(fused.SerializeToString())
    with open_bundle(folder, backend="ort") as bundle:
        inputs = read_self_test_inputs(bundle, network)
        wanted = bundle.network(network)(inputs)
    session = ort.InferenceSession(
        str(tmp_path / f"{network}.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    assert compare_outputs(dict(zip(names, session.run(names, inputs), strict=True)), wanted) < 1e-4


def test_the_graph_that_is_fused_stays_as_it_was(build_tiny: Callable[..., Path]) -> None:
    model = FloatGraph(build_tiny() / "audio_encoder.onnx").model
    before = model.SerializeToString()
    fuse(model)
    assert model.SerializeToString() == before


def test_heads_that_are_too_wide_stay_plain(
    build_tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoexport.export.ort_cuda import attention

    monkeypatch.setattr(attention, "WIDEST_HEAD", 3)
    model = FloatGraph(build_tiny() / "audio_encoder.onnx").model
    fused, found = fuse(model)
    assert found == 0
    assert list(fused.graph.node) == list(model.graph.node)
    assert list(fused.graph.initializer) == list(model.graph.initializer)


def turn_scale(model: onnx.ModelProto) -> None:
    """The scale is another for each value: no scale of an attention."""
    name = next(node.input[1] for node in model.graph.node if node.name.endswith(".query"))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ones(48, np.float32), name))


def turn_key(model: onnx.ModelProto) -> None:
    """No key is turned."""
    for node in model.graph.node:
        if node.name.endswith(".key"):
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("perm", [0, 1, 2, 3]))


@pytest.mark.parametrize("spoil", [turn_scale, turn_key])
def test_what_only_looks_like_attention_is_left_alone(
    build_tiny: Callable[..., Path], spoil: Callable[[onnx.ModelProto], None]
) -> None:
    model = FloatGraph(build_tiny() / "audio_encoder.onnx").model
    spoil(model)
    fused, found = fuse(model)
    assert found == 0
    assert count(fused) == count(model)
