"""Attention in bf16, which OpenVINO fuses wrongly where there are as many tokens as heads.

Never used unproved.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.bundle.network import Network, compare_outputs
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import FileEntry, read_manifest
from echoexport.runtime.contract.spec import TensorSpec, find_tolerance
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError

pytest.importorskip("openvino")

WIDTH = 8  # of a head
NAME = "vae_decoder"
TURNS = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
Arrays = dict[str, np.ndarray]


def attend(x: np.ndarray, weights: Arrays, heads: int) -> np.ndarray:
    """(1, tokens, heads * WIDTH) to the same: plain attention of x with itself."""
    split = {
        key: (x[0] @ w).reshape(x.shape[1], heads, WIDTH).swapaxes(0, 1)
        for key, w in weights.items()
    }
    scores = split["q"] @ split["k"].swapaxes(1, 2) / np.sqrt(WIDTH)
    weighed = np.exp(scores - scores.max(-1, keepdims=True))
    y = (weighed / weighed.sum(-1, keepdims=True)) @ split["v"]
    return np.asarray(y.swapaxes(0, 1).reshape(x.shape), np.float32)


def write_attention(path: Path, weights: Arrays, *, tokens: int, heads: int) -> None:
    """The same as a graph of static shapes, as the export writes it."""
    from onnx import TensorProto, helper, numpy_helper, save_model

    shape = [1, tokens, heads * WIDTH]
    nodes = []
    for key in weights:
        nodes += [
            helper.make_node("MatMul", ["x", key], [f"{key}.tokens"]),
            helper.make_node("Reshape", [f"{key}.tokens", "split"], [f"{key}.split"]),
            helper.make_node("Transpose", [f"{key}.split"], [f"{key}.heads"], perm=TURNS[key]),
        ]
    nodes += [
        helper.make_node("MatMul", ["q.heads", "k.heads"], ["scores"]),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["soft"], axis=-1),
        helper.make_node("MatMul", ["soft", "v.heads"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["back", "join"], ["y"]),
    ]
    constants = {
        **weights,
        "split": np.array([1, tokens, heads, WIDTH]),
        "join": np.array(shape),
        "scale": np.array(1 / np.sqrt(WIDTH), np.float32),
    }
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    body = helper.make_graph(nodes, "attention", values[:1], values[1:], tensors)
    save_model(
        helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path
    )


def make_bundle(
    folder: Path, *, tokens: int, heads: int, compute: str
) -> tuple[Bundle, Arrays, Arrays]:
    """A bundle whose decoder is an attention; its self-test's inputs and outputs."""
    draw = np.random.default_rng(11)
    width = heads * WIDTH
    weights = {
        key: (draw.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
        for key in "qkv"
    }
    given = {"x": draw.standard_normal((1, tokens, width)).astype(np.float32)}
    wanted = {"y": attend(given["x"], weights, heads)}
    manifest = read_manifest(folder)
    entry = manifest.networks[NAME]
    write_attention(folder / entry.graph, weights, tokens=tokens, heads=heads)
    arrays = {
        **{f"input.{k}": v for k, v in given.items()},
        **{f"output.{k}": v for k, v in wanted.items()},
    }
    np.savez(folder / entry.self_test, **arrays)  # type: ignore[arg-type]
    axes = (("batch", 1), ("tokens", tokens), ("width", width))
    inputs = (TensorSpec("x", "float32", axes),)
    outputs = (TensorSpec("y", "float32", axes),)
    changed = {
        name: FileEntry(hash_file(folder / name), (folder / name).stat().st_size)
        for name in (entry.graph, entry.self_test)
    }
    networks = {**manifest.networks, NAME: replace(entry, inputs=inputs, outputs=outputs)}
    manifest = replace(manifest, networks=networks, files={**manifest.files, **changed})
    backend = load_backend("openvino")
    return (
        Bundle(folder, manifest, backend=backend, options=EngineOptions(compute=compute)),
        given,
        wanted,
    )


def has_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize(("tokens", "heads"), [(4, 4), (8, 8), (6, 4)])
def test_attention_in_fp32_is_right(null_bundle: Path, tokens: int, heads: int) -> None:
    bundle, given, wanted = make_bundle(null_bundle, tokens=tokens, heads=heads, compute="fp32")
    with bundle:
        assert compare_outputs(bundle.network(NAME)(given), wanted) < 1e-4


@pytest.mark.parametrize(("tokens", "heads"), [(4, 4), (8, 8), (6, 4), (16, 8)])
def test_attention_in_bf16_is_refused_exactly_where_it_is_wrong(
    null_bundle: Path, tokens: int, heads: int
) -> None:
    if not has_bf16():
        pytest.skip("this CPU has no bf16")
    bundle, given, wanted = make_bundle(null_bundle, tokens=tokens, heads=heads, compute="bf16")
    entry = bundle.manifest.networks[NAME]
    spec = entry.describe(NAME)
    unproved = Network(
        spec, bundle.backend.open(null_bundle / entry.graph, spec, EngineOptions(compute="bf16"))
    )
    error = compare_outputs(unproved(given), wanted)
    with bundle:
        if error > find_tolerance(entry.tolerances, "bf16"):
            with pytest.raises(
                BackendError, match=rf"{NAME}: bf16 on this machine is wrong by .*use compute fp32"
            ):
                bundle.network(NAME)
        else:
            assert bundle.network(NAME).precision == "bf16"
    if tokens != heads:  # the fault is that of as many tokens as heads; all else is rounding
        assert error < 0.05
