"""Weights on their way from a checkpoint into a graph's external file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.graphs.weights import embed_constants, require_shared, write_weights
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.graph_builder import TRANSPOSED
from echoexport.export.subnets.networks import build_network
from echoexport.export.subnets.tracing import trace_network
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks
from echoexport.runtime.errors import CheckpointError, GraphError

Table = dict[str, StoredTensor]


@pytest.fixture(scope="module")
def trace() -> Callable[[Architecture, str], onnx.ModelProto]:
    def make(micro: Architecture, precision: str) -> onnx.ModelProto:
        sizes = size_networks(micro, size=(8, 8), frames=2, face="mask")
        return trace_network(describe_networks(sizes, precision=precision)["audio_encoder"], micro)

    return make


@pytest.fixture
def table(micro: Architecture, fill: Any, stored: Any) -> Table:
    return dict(stored(fill(build_network("audio_encoder", micro), 1)))


def replace_values(table: Table, key: str, values: np.ndarray) -> None:
    table[key] = StoredTensor(Path("whisper.pt"), key, values.shape, values.dtype.name, 0, values)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_values_come_back_as_they_were_turned_where_the_graph_says(
    trace: Any, micro: Architecture, table: Table, tmp_path: Path, precision: str
) -> None:
    model = trace(micro, precision)
    written = write_weights(model, table, path=tmp_path / "audio_encoder.bin")
    turned = next(entry.value for entry in model.metadata_props if entry.key == TRANSPOSED).split(
        "\n"
    )
    assert "encoder.blocks.0.mlp.0.weight" in turned
    count = 0
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        found = numpy_helper.to_array(tensor, str(tmp_path))
        wanted = table[tensor.name].read().astype(found.dtype)
        np.testing.assert_array_equal(found, wanted.T if tensor.name in turned else wanted)
        count += found.size
    assert count == written.parameters == sum(t.read().size for t in table.values())


def test_size_and_hash_are_those_of_the_file(
    trace: Any, micro: Architecture, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / "audio_encoder.bin"
    written = write_weights(trace(micro, "fp16"), table, path=path)
    assert written.file.bytes == path.stat().st_size
    assert written.file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_values_that_are_not_finite_are_refused_with_file_and_key(
    trace: Any, micro: Architecture, table: Table, tmp_path: Path, value: float, dtype: str
) -> None:
    values = table["encoder.conv1.weight"].read().astype(dtype)
    values[-1, -1, -1] = value
    replace_values(table, "encoder.conv1.weight", values)
    with pytest.raises(
        CheckpointError, match=r"whisper\.pt: 'encoder\.conv1\.weight' holds values that are not"
    ):
        write_weights(trace(micro, "fp32"), table, path=tmp_path / "audio_encoder.bin")


@pytest.mark.parametrize("value", [65600.0, -1e9])
def test_values_too_large_for_fp16_are_refused_with_the_way_out(
    trace: Any, micro: Architecture, table: Table, tmp_path: Path, value: float
) -> None:
    values = table["encoder.conv2.bias"].read().copy()
    values[0] = value
    replace_values(table, "encoder.conv2.bias", values)
    with pytest.raises(
        CheckpointError, match=r"whisper\.pt: 'encoder\.conv2\.bias' .*float16.* --precision fp32"
    ):
        write_weights(trace(micro, "fp16"), table, path=tmp_path / "audio_encoder.bin")
    write_weights(trace(micro, "fp32"), table, path=tmp_path / "audio_encoder.bin")


def test_doubles_too_large_for_fp32_are_refused(
    trace: Any, micro: Architecture, table: Table, tmp_path: Path
) -> None:
    replace_values(table, "encoder.conv2.bias", np.full(12, 1e39))
    with pytest.raises(CheckpointError, match="more than float32's"):
        write_weights(trace(micro, "fp32"), table, path=tmp_path / "audio_encoder.bin")


def test_a_parameter_without_a_value_is_refused(
    trace: Any, micro: Architecture, table: Table, tmp_path: Path
) -> None:
    del table["encoder.conv1.bias"]
    with pytest.raises(
        GraphError, match=r"'encoder\.conv1\.bias', which the checkpoint does not give"
    ):
        write_weights(trace(micro, "fp32"), table, path=tmp_path / "audio_encoder.bin")


def test_a_value_of_another_shape_is_refused(
    trace: Any, micro: Architecture, table: Table, tmp_path: Path
) -> None:
    replace_values(table, "encoder.conv1.bias", np.zeros(13, np.float32))
    with pytest.raises(
        GraphError, match=r"encoder\.conv1\.bias: the graph wants \[12\], found \[13\]"
    ):
        write_weights(trace(micro, "fp32"), table, path=tmp_path / "audio_encoder.bin")


@pytest.fixture(scope="module")
def live(micro: Architecture) -> dict[str, onnx.ModelProto]:
    """The audio encoder and the one for live, traced with ten rows of padding."""
    a = replace(micro, audio=replace(micro.audio, context=235))
    sizes = size_networks(a, size=(8, 8), frames=2, face="mask", live=True)
    specs = describe_networks(sizes, precision="fp16")
    return {name: trace_network(specs[name], a) for name in ("audio_encoder", "audio_encoder_live")}


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def table_of(model: onnx.ModelProto) -> Table:
    """A value for each initializer without any."""
    empty = [t for t in model.graph.initializer if not t.raw_data and not t.external_data]
    values = {t.name: np.full(t.dims, number, np.float32) for number, t in enumerate(empty)}
    return {
        name: StoredTensor(Path("here"), name, value.shape, "float32", 0, value)
        for name, value in values.items()
    }


def test_constants_come_into_the_graph_in_its_own_type(live: dict[str, onnx.ModelProto]) -> None:
    model = copy_of(live["audio_encoder_live"])
    table = table_of(model)
    assert len(table) == 4
    embed_constants(model, table)
    found = {t.name: t for t in model.graph.initializer if t.name in table}
    for name, tensor in found.items():
        values = numpy_helper.to_array(tensor)
        assert values.dtype == np.float16
        np.testing.assert_array_equal(values, table[name].read())
    assert table_of(model) == {}


def test_a_constant_without_a_value_is_refused(live: dict[str, onnx.ModelProto]) -> None:
    with pytest.raises(GraphError, match=r"audio_encoder_live: no value for .*padding_key"):
        embed_constants(copy_of(live["audio_encoder_live"]), {})


def test_a_graph_without_constants_of_the_checkpoints_stays_as_it_is(
    live: dict[str, onnx.ModelProto],
) -> None:
    model = copy_of(live["audio_encoder"])
    embed_constants(model, {})
    assert model == live["audio_encoder"]


@pytest.mark.parametrize("change", ["offset", "dims", "turned", "missing"])
def test_a_graph_that_would_read_something_else_in_anothers_file_is_refused(
    live: dict[str, onnx.ModelProto], change: str
) -> None:
    require_shared(live["audio_encoder_live"], live["audio_encoder"])
    owner = copy_of(live["audio_encoder"])
    tensor = next(t for t in owner.graph.initializer if t.name == "encoder.blocks.1.mlp.0.weight")
    if change == "offset":
        next(entry for entry in tensor.external_data if entry.key == "offset").value = "64"
    elif change == "dims":
        tensor.dims[:] = list(tensor.dims)[::-1]
    elif change == "turned":
        entry = next(entry for entry in owner.metadata_props if entry.key == TRANSPOSED)
        entry.value = entry.value.replace(tensor.name, "none")
    else:
        owner.graph.initializer.remove(tensor)
    with pytest.raises(
        GraphError, match=r"'encoder\.blocks\.1\.mlp\.0\.weight' does not lie where audio_encoder"
    ):
        require_shared(live["audio_encoder_live"], owner)
