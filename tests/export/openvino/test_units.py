"""Places cut out of a graph: whole, bounded, and with weights of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.openvino import units
from echoexport.export.openvino.patch_products import PatchProducts
from echoexport.export.openvino.split_gates import SplitGates


def cut_gates(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = EditedGraph(model)
    unit = units.cut_out(model, graph, SplitGates().find(graph))
    onnx.checker.check_model(unit, full_check=True)
    return unit


def test_a_cut_gives_what_the_graph_gives(sketch: Any, gate: Any, run_graph: Any) -> None:
    draft = sketch()
    ends = [gate(draft, (1, 3, 8), 4) for _ in range(2)]
    model = draft.finish(*ends)
    unit = cut_gates(model)
    inputs = units.draw_inputs(unit)
    found = run_graph(unit, inputs)
    assert sorted(found) == sorted(ends)
    wanted = run_graph(model, inputs)
    for end, values in zip(ends, wanted.values(), strict=True):
        np.testing.assert_array_equal(found[end], values)


def test_weights_beside_the_graph_become_random_numbers_of_their_shape(
    sketch: Any, gate: Any
) -> None:
    draft = sketch()
    model = draft.finish(gate(draft, (1, 3, 8), 4))
    weight = next(one for one in model.graph.initializer if list(one.dims) == [8, 8])
    shape = list(weight.dims)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "nowhere.bin"
    unit = cut_gates(model)
    drawn = next(one for one in unit.graph.initializer if one.name == weight.name)
    values = numpy_helper.to_array(drawn)
    assert list(values.shape) == shape
    assert 0.1 < values.std() < 1.0


def test_of_many_places_as_many_are_cut_as_the_weights_allow(
    sketch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = sketch()
    for _ in range(5):
        weight = draft.weight(16, 16, 3, 3)
        draft.add("Conv", draft.input(1, 16, 4, 4), weight, pads=[1, 1, 1, 1])
    model = draft.finish(*(f"value{number}" for number in range(5)))
    graph = EditedGraph(model)
    places = PatchProducts().find(graph)
    each = 16 * 16 * 9 * 4
    for limit, wanted in ((3 * each, 3), (each, 1), (each // 2, 1), (9 * each, 5)):
        monkeypatch.setattr(units, "LARGEST_CUT", limit)
        assert len(units.cut_out(model, graph, places).graph.output) == wanted
