"""Arrays that nobody can change any more are known again; all others are not."""

from __future__ import annotations

import gc

import numpy as np

from echoexport.runtime.engine.held_arrays import Held, freeze, is_frozen


def test_an_array_of_which_a_writeable_one_exists_is_not_frozen() -> None:
    owner = np.ones(4)
    view = owner[:2]
    view.setflags(write=False)
    assert not is_frozen(owner)
    assert not is_frozen(view)


def test_a_view_of_a_frozen_array_is_frozen() -> None:
    owner = np.ones((2, 3))
    owner.setflags(write=False)
    assert is_frozen(owner)
    assert is_frozen(owner[:, :, None])


def test_memory_that_numpy_does_not_own_is_never_frozen() -> None:
    assert not is_frozen(np.frombuffer(bytearray(8), np.uint8)[:4])
    assert not is_frozen(np.frombuffer(bytes(8), np.uint8))


def test_freezing_copies_what_could_still_be_written_to() -> None:
    source = np.ones(4)
    frozen = freeze(source)
    source[:] = 2
    np.testing.assert_array_equal(frozen, np.ones(4))
    assert is_frozen(frozen)


def test_freezing_twice_gives_the_same_array() -> None:
    frozen = freeze(np.ones(4))
    assert freeze(frozen) is frozen


def test_a_frozen_array_is_known_again_and_an_equal_one_is_not() -> None:
    held = Held()
    frozen = freeze(np.ones(4))
    assert not held.is_same(frozen)
    held.hold(frozen)
    assert held.is_same(frozen)
    assert not held.is_same(freeze(np.ones(4)))


def test_a_writeable_array_is_not_known_again() -> None:
    held = Held()
    array = np.ones(4)
    held.hold(array)
    assert not held.is_same(array)


def test_holding_a_writeable_array_forgets_the_one_before() -> None:
    held = Held()
    frozen = freeze(np.ones(4))
    held.hold(frozen)
    held.hold(np.ones(4))
    assert not held.is_same(frozen)


def test_what_is_held_is_not_kept_in_memory() -> None:
    held = Held()
    held.hold(freeze(np.ones(4)))
    gc.collect()
    # One may get the same address.
    assert not any(held.is_same(freeze(np.ones(4))) for _ in range(100))
