"""Fixtures of the bundle's tests: files that are changed together with their manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.manifests import edit_manifest

from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.manifest import read_manifest

COMPUTING = "landmark_encoder"
"""The network that computes in ``computing_bundle``."""


@pytest.fixture(scope="session")
def rewrite() -> Callable[[Path, str, bytes], None]:
    """A function that changes a bundle's file and makes the manifest agree with it."""

    def write(folder: Path, name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        entry = {"sha256": hash_file(folder / name), "bytes": len(content)}
        edit_manifest(folder, lambda data: data["files"].update({name: entry}))

    return write


@pytest.fixture
def computing_bundle(null_bundle: Path, rewrite: Callable[[Path, str, bytes], None]) -> Path:
    """The null bundle with one network that computes: a convolution, its weights in a file."""
    from onnx import TensorProto, helper

    spec = read_manifest(null_bundle).networks[COMPUTING].describe(COMPUTING)
    (given,), (made,) = spec.inputs, spec.outputs
    stride = given.shape[2] // made.shape[2]
    shape = (made.shape[1], given.shape[1], stride, stride)
    weights = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    kept = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape)
    kept.data_location = TensorProto.EXTERNAL
    for key, value in {
        "location": f"{COMPUTING}.bin",
        "offset": 0,
        "length": weights.nbytes,
    }.items():
        kept.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [helper.make_node("Conv", [given.name, "w"], [made.name], strides=[stride, stride])],
        COMPUTING,
        [helper.make_tensor_value_info(given.name, TensorProto.FLOAT, given.shape)],
        [helper.make_tensor_value_info(made.name, TensorProto.FLOAT, made.shape)],
        [kept],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    rewrite(null_bundle, f"{COMPUTING}.onnx", model.SerializeToString())
    rewrite(null_bundle, f"{COMPUTING}.bin", weights.tobytes())
    return null_bundle
