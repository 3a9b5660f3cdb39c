"""A network is called by names: what it is given is checked and cast, what it gives is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.bundle.network import Network, compare_outputs, describe_axes
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.engine.held_arrays import freeze, is_frozen
from echoexport.runtime.engine.protocol import Arrays, Engine
from echoexport.runtime.errors import BackendError, UnknownNameError

SPEC = SubnetSpec(
    "adder",
    (
        TensorSpec("left", "float32", (("batch", 1), ("width", 3))),
        TensorSpec("right", "float16", (("batch", 1), ("width", 3))),
    ),
    (TensorSpec("sum", "float32", (("batch", 1), ("width", 3))),),
    TOLERANCES,
)
LEFT = np.arange(3, dtype=np.float32)[None]
RIGHT = np.ones((1, 3), np.float16)


class Adder(Engine):
    """An engine that adds, and remembers what it was given."""

    precision = "fp32"
    given: Arrays
    closed = False

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.given = inputs
        return {"sum": inputs["left"] + inputs["right"].astype(np.float32)}

    def close(self) -> None:
        self.closed = True


def test_outputs_come_by_name_whatever_the_order_of_the_inputs() -> None:
    network = Network(SPEC, Adder())
    first = network({"left": LEFT, "right": RIGHT})
    second = network({"right": RIGHT, "left": LEFT})
    np.testing.assert_array_equal(first["sum"], [[1, 2, 3]])
    np.testing.assert_array_equal(first["sum"], second["sum"])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, bool])
def test_inputs_are_cast_to_the_dtype_of_the_spec(dtype: type) -> None:
    engine = Adder()
    Network(SPEC, engine)({"left": np.ones((1, 3), dtype), "right": np.ones((1, 3), dtype)})
    assert {name: array.dtype.name for name, array in engine.given.items()} == {
        "left": "float32",
        "right": "float16",
    }


def test_inputs_reach_the_engine_in_one_piece_of_memory() -> None:
    engine = Adder()
    Network(SPEC, engine)(
        {"left": np.zeros((3, 1), np.float32).T, "right": np.zeros((1, 6), np.float16)[:, ::2]}
    )
    assert all(array.flags.c_contiguous for array in engine.given.values())


def test_an_input_that_fits_already_is_not_copied() -> None:
    engine = Adder()
    Network(SPEC, engine)({"left": LEFT, "right": RIGHT})
    assert engine.given["left"] is LEFT


def test_an_unknown_input_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"unknown input of adder 'rihgt'; known: left, right\. Did you mean 'ri",
    ):
        Network(SPEC, Adder())({"left": LEFT, "rihgt": RIGHT})


def test_a_missing_input_is_refused_with_what_is_wanted() -> None:
    with pytest.raises(
        BackendError, match=r"adder: input 'right' is missing; wanted \(batch 1, width 3\) float16"
    ):
        Network(SPEC, Adder())({"left": LEFT})


def test_a_misshapen_input_is_refused_with_both_shapes() -> None:
    with pytest.raises(
        BackendError,
        match=r"adder: input 'left' has shape \(3,\); wanted \(batch 1, width 3\) float32",
    ):
        Network(SPEC, Adder())({"left": LEFT[0], "right": RIGHT})


@pytest.mark.parametrize("values", [[["a", "b", "c"]], [[1j, 2j, 3j]], [[None, None, None]]])
def test_inputs_that_are_no_real_numbers_are_refused(values: list[list[object]]) -> None:
    with pytest.raises(
        BackendError, match=r"adder: input 'left' is .*; wanted \(batch 1, width 3\) float32"
    ):
        Network(SPEC, Adder())({"left": np.array(values), "right": RIGHT})


def test_calls_and_seconds_are_counted_but_not_for_refused_inputs() -> None:
    network = Network(SPEC, Adder())
    for _ in range(3):
        network({"left": LEFT, "right": RIGHT})
    with pytest.raises(BackendError):
        network({"left": LEFT})
    assert network.calls == 3
    assert network.seconds > 0


def test_closing_a_network_closes_its_engine() -> None:
    engine = Adder()
    Network(SPEC, engine).close()
    assert engine.closed


def test_axes_read_as_people_write_them() -> None:
    assert describe_axes(SPEC.inputs[0]) == "(batch 1, width 3) float32"


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=5), st.floats(0, 1))
def test_the_difference_is_relative_to_the_largest_wanted_value(
    values: list[float], share: float
) -> None:
    wanted = np.array([*values, 100.0], np.float32)
    found = wanted + np.float32(100 * share)
    assert compare_outputs({"y": found}, {"y": wanted}) == pytest.approx(share, abs=1e-6)


def test_the_worst_output_counts() -> None:
    wanted = {"a": np.ones(2, np.float32), "b": np.full(2, 10, np.float32)}
    assert compare_outputs({"a": wanted["a"], "b": wanted["b"] + 5}, wanted) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "found",
    [
        {"y": np.array([np.nan, 1], np.float32)},
        {"y": np.array([np.inf, 1], np.float32)},
        {"y": np.ones(1, np.float32)},
        {},
    ],
    ids=["not a number", "infinite", "another shape", "missing"],
)
def test_an_output_that_cannot_be_compared_is_infinitely_wrong(
    found: dict[str, np.ndarray],
) -> None:
    assert compare_outputs(found, {"y": np.ones(2, np.float32)}) == float("inf")


def test_outputs_that_should_be_zero_are_compared_absolutely() -> None:
    assert (
        compare_outputs({"y": np.full(2, 0.25, np.float32)}, {"y": np.zeros(2, np.float32)}) == 0.25
    )


def test_a_frozen_input_in_another_dtype_is_cast_once() -> None:
    engine = Adder()
    left = freeze(np.ones((1, 3)))
    network = Network(SPEC, engine)
    casts = []
    for _ in range(2):
        network({"left": left, "right": RIGHT})
        casts.append(np.asarray(engine.given["left"]))
    assert casts[0] is casts[1]
    assert is_frozen(casts[0])
    assert casts[0].dtype == np.float32


def test_another_frozen_input_is_cast_anew() -> None:
    network = Network(SPEC, Adder())
    sums = [
        network({"left": freeze(np.full((1, 3), float(value))), "right": RIGHT})["sum"][0, 0]
        for value in (1, 2, 1)
    ]
    assert sums == [2, 3, 2]


def test_an_input_that_can_be_written_to_is_cast_at_every_call() -> None:
    network = Network(SPEC, Adder())
    left = np.zeros((1, 3))
    first = network({"left": left, "right": RIGHT})["sum"]
    left[:] = 5
    second = network({"left": left, "right": RIGHT})["sum"]
    assert (first[0, 0], second[0, 0]) == (1, 6)
