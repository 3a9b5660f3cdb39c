"""Small outputs beside an activation say what numpy says of the whole of it."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.observing.taps import (
    add_taps,
    find_activations,
    tap_histogram,
    tap_maxima,
    tap_rows,
)
from echoexport.runtime.errors import CalibrationError, GraphError

pytest.importorskip("onnxruntime")


def test_activations_are_what_layers_read_with_their_channel_axis(graph: FloatGraph) -> None:
    found = find_activations(graph)
    assert [(one.value, one.shape, one.axis, one.layers) for one in found.values()] == [
        ("picture", (2, 3, 6, 6), 1, ("first",)),
        ("rows", (2, 6, 6, 4), 3, ("second",)),
    ]
    assert list(find_activations(graph, ["rows"])) == ["rows"]


def test_a_value_that_no_layer_reads_can_be_asked_for_and_an_unknown_one_is_refused(
    graph: FloatGraph,
) -> None:
    found = find_activations(graph, ["map"])["map"]
    assert (found.axis, found.channels, found.layers) == (1, 4, ())
    with pytest.raises(CalibrationError, match="small: no value is called 'nap'"):
        find_activations(graph, ["nap"])


def test_a_graph_without_shapes_is_refused(graph: FloatGraph) -> None:
    del graph.model.graph.value_info[:]
    with pytest.raises(GraphError, match="shape of 'rows' is not known"):
        find_activations(graph)


@pytest.mark.usefixtures("engine")
def test_histograms_count_every_value_once(graph: FloatGraph, picture: np.ndarray) -> None:
    tap = tap_histogram(find_activations(graph)["picture"], amax=2.0, bins=16, most=10**6)
    found = TappedNetwork(graph, [tap])({"picture": picture})["picture.histogram"]
    clipped = np.minimum(np.abs(picture), np.nextafter(np.float32(2), np.float32(0)))
    np.testing.assert_array_equal(found, np.histogram(clipped, 16, (0, 2))[0])


@pytest.mark.usefixtures("engine")
def test_histograms_are_of_the_divided_channels(
    graph: FloatGraph, rows: np.ndarray, picture: np.ndarray
) -> None:
    factors = np.array([1, 2, 4, 8], np.float32)
    tap = tap_histogram(
        find_activations(graph)["rows"], amax=50.0, bins=20, most=10**6, factors=factors
    )
    found = TappedNetwork(graph, [tap])({"picture": picture})["rows.histogram"]
    assert np.abs(found - np.histogram(np.abs(rows / factors), 20, (0, 50))[0]).sum() <= 2


@pytest.mark.usefixtures("engine")
def test_rows_are_rows_of_the_activation(
    graph: FloatGraph, rows: np.ndarray, picture: np.ndarray
) -> None:
    tap = tap_rows(find_activations(graph)["rows"], most=10)
    found = TappedNetwork(graph, [tap])({"picture": picture})["rows.rows"]
    assert 1 < len(found) <= 10
    for row in found:
        assert np.isclose(rows.reshape(-1, 4), row, rtol=1e-4, atol=1e-5).all(axis=1).sum() == 1


def test_a_large_activation_is_counted_at_every_nth_value_of_all_channels(
    graph: FloatGraph, picture: np.ndarray
) -> None:
    tap = tap_histogram(find_activations(graph)["picture"], amax=5.0, bins=8, most=100)
    found = TappedNetwork(graph, [tap])({"picture": picture})["picture.histogram"]
    assert 30 <= found.sum() <= 100
    one_channel = np.zeros_like(picture)
    one_channel[:, 1] = 4.9
    counted = TappedNetwork(graph, [tap])({"picture": one_channel})["picture.histogram"]
    assert counted[-1] == pytest.approx(found.sum() / 3, abs=2)


def test_taps_stand_right_behind_the_producer_and_are_the_only_outputs(graph: FloatGraph) -> None:
    model = add_taps(graph, [tap_maxima(one) for one in find_activations(graph).values()])
    order = [node.name for node in model.graph.node]
    assert order.index("rows") < order.index("rows.maxima") < order.index("result")
    assert {output.name for output in model.graph.output} == {
        "picture.maxima",
        "picture.sum",
        "rows.maxima",
        "rows.sum",
    }
    assert [output.name for output in graph.model.graph.output] == ["result"]
