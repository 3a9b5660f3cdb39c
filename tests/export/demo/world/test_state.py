"""The curves of a face state: one length, one order of columns, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.demo.world.state import STATE_WIDTH, FaceState
from echoexport.runtime.errors import SettingError

ORDER = ("openness", "width", "rounding", "lids", "brows", "nod", "sway", "tilt")


@given(st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_a_state_survives_the_way_to_a_matrix_and_back(length: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).uniform(-1, 1, (length, STATE_WIDTH)).astype(np.float32)
    state = FaceState.from_matrix(matrix)
    np.testing.assert_array_equal(state.as_matrix(), matrix)
    assert len(state) == length


def test_columns_stand_in_the_order_of_the_contract() -> None:
    state = FaceState.from_matrix(np.arange(8, dtype=np.float32)[None])
    assert [float(getattr(state, name)[0]) for name in ORDER] == list(range(8))


def test_rest_is_all_zero() -> None:
    assert not FaceState.rest(5).as_matrix().any()


def test_frames_are_taken_by_slice_index_and_mask() -> None:
    state = FaceState.from_matrix(np.arange(32, dtype=np.float32).reshape(4, 8))
    np.testing.assert_array_equal(state.take(slice(1, 3)).openness, [8, 16])
    np.testing.assert_array_equal(state.take([3, 0]).openness, [24, 0])
    np.testing.assert_array_equal(
        state.take(np.array([True, False, False, True])).openness, [0, 24]
    )


def test_curves_of_different_length_are_refused_by_name() -> None:
    curves = {name: np.zeros(3) for name in ORDER}
    with pytest.raises(SettingError, match=r"lids is \(2,\)"):
        FaceState(**{**curves, "lids": np.zeros(2)})


def test_a_matrix_of_another_width_is_refused() -> None:
    with pytest.raises(SettingError, match=r"\(n, 8\)"):
        FaceState.from_matrix(np.zeros((4, 7), np.float32))
