"""Starting noise: fixed for ever, normal, and independent from frame to frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.noise import SeededNoise, initial_latents, noise_of_frames

SHAPE = (4, 8, 8)
seeds = st.integers(0, 2**64 - 1)


def test_the_layout_is_batch_channels_frames_height_width() -> None:
    latents = initial_latents(1, frames=3, shape=(4, 5, 6), clamp=None)
    assert latents.shape == (1, 4, 3, 5, 6)
    assert latents.dtype == np.float32


def test_the_first_values_are_those_of_generator_version_1() -> None:
    # Computed from the formulas in plain Python, with a Philox of its own.
    wanted = [
        -0.51033311,
        -0.23864489,
        0.64951916,
        0.18095392,
        0.00242635688,
        0.13787656,
        -1.77338585,
        0.06434826,
    ]
    actual = initial_latents(420, frames=1, shape=SHAPE, clamp=None).ravel()[:8]
    np.testing.assert_allclose(actual, wanted, rtol=1e-6)


def test_the_last_values_of_the_largest_seed_are_fixed_too() -> None:
    wanted = [-0.31674033, -0.32980853, 0.47629660, -0.00180629874]
    actual = initial_latents(2**64 - 1, frames=6, shape=SHAPE, clamp=None)[0, 3, 5, 7, 4:]
    np.testing.assert_allclose(actual, wanted, rtol=1e-6)


def test_the_normals_are_box_and_mullers_of_the_raw_words() -> None:
    words = np.random.Philox(key=np.array([7, 2], dtype=np.uint64)).random_raw(2)
    u = ((int(words[0]) >> 11) + 1) / 2**53
    v = (int(words[1]) >> 11) / 2**53
    wanted = np.sqrt(-2 * np.log(u)) * np.array([np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)])
    actual = initial_latents(7, frames=3, shape=SHAPE, clamp=None)[0, 0, 2, 0, :2]
    np.testing.assert_allclose(actual, wanted, rtol=1e-6)


@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_a_frames_noise_does_not_depend_on_the_clips_length(
    seed: int, short: int, more: int
) -> None:
    first = initial_latents(seed, frames=short, shape=(2, 3, 3), clamp=None)
    second = initial_latents(seed, frames=short + more, shape=(2, 3, 3), clamp=None)
    np.testing.assert_array_equal(first, second[:, :, :short])


@settings(max_examples=20)
@given(seeds)
def test_values_are_finite_and_vary_for_every_seed(seed: int) -> None:
    latents = initial_latents(seed, frames=2, shape=SHAPE, clamp=None)
    assert np.isfinite(latents).all()
    assert len(np.unique(latents)) > 500


def test_a_million_values_are_standard_normal() -> None:
    values = (
        initial_latents(42, frames=64, shape=(4, 64, 64), clamp=None).astype(np.float64).ravel()
    )
    assert values.size == 2**20
    assert abs(values.mean()) < 5e-3
    assert abs(values.var() - 1) < 7e-3
    assert abs((values**3).mean()) < 1.3e-2
    assert abs((values**4).mean() - 3) < 5e-2
    assert abs((np.abs(values) < 1).mean() - 0.682689) < 2.5e-3
    assert 4.3 < np.abs(values).max() < 6.5


def test_frames_channels_and_neighbours_are_uncorrelated() -> None:
    latents = initial_latents(9, frames=16, shape=(4, 32, 32), clamp=None)[0]
    frames = np.corrcoef(latents.transpose(1, 0, 2, 3).reshape(16, -1))
    assert np.abs(frames - np.eye(16)).max() < 5 / np.sqrt(4096)
    channels = np.corrcoef(latents.reshape(4, -1))
    assert np.abs(channels - np.eye(4)).max() < 5 / np.sqrt(16384)
    flat = latents.transpose(1, 0, 2, 3).reshape(-1)
    for lag in (1, 2, 32, 4096):
        assert abs((flat[lag:] * flat[:-lag]).mean()) < 5 / np.sqrt(flat.size)


def test_neighbouring_seeds_give_unrelated_noise() -> None:
    a = initial_latents(1, frames=4, shape=(4, 32, 32), clamp=None).ravel()
    b = initial_latents(2, frames=4, shape=(4, 32, 32), clamp=None).ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(a.size)


def test_a_clamp_cuts_and_changes_nothing_else() -> None:
    free = initial_latents(3, frames=2, shape=SHAPE, clamp=None)
    clamped = initial_latents(3, frames=2, shape=SHAPE, clamp=1.5)
    assert np.abs(free).max() > 1.5
    np.testing.assert_array_equal(clamped, np.clip(free, np.float32(-1.5), np.float32(1.5)))


def test_an_odd_number_of_values_a_frame_works() -> None:
    latents = initial_latents(3, frames=2, shape=(1, 3, 3), clamp=None)
    np.testing.assert_array_equal(
        latents.ravel()[:8], initial_latents(3, frames=1, shape=(1, 2, 4), clamp=None).ravel()
    )


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.uint64(2**64 - 1)])
def test_the_ends_of_the_seed_range_work(seed: Any) -> None:
    assert np.isfinite(initial_latents(seed, frames=1, shape=SHAPE, clamp=None)).all()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, None, "1"])
def test_a_seed_outside_its_range_is_refused(seed: Any) -> None:
    with pytest.raises(SettingError, match="seed"):
        initial_latents(seed, frames=1, shape=SHAPE, clamp=None)


@pytest.mark.parametrize("clamp", [0.0, -1.5, float("nan")])
def test_a_clamp_that_is_not_positive_is_refused(clamp: float) -> None:
    with pytest.raises(SettingError, match="clamp"):
        initial_latents(1, frames=1, shape=SHAPE, clamp=clamp)


@pytest.mark.parametrize(("frames", "shape"), [(0, SHAPE), (2, (4, 0, 8)), (2, (4, 8))])
def test_empty_latents_are_refused(frames: int, shape: Any) -> None:
    with pytest.raises(SettingError, match="latents"):
        initial_latents(1, frames=frames, shape=shape, clamp=None)


def test_without_a_share_every_bit_is_as_if_there_were_none() -> None:
    plain = initial_latents(420, frames=3, shape=SHAPE, clamp=1.5)
    np.testing.assert_array_equal(
        initial_latents(420, frames=3, shape=SHAPE, clamp=1.5, shared=0.0), plain
    )


def test_wholly_shared_noise_is_the_same_in_every_frame_of_any_clip() -> None:
    latents = initial_latents(420, frames=5, shape=SHAPE, clamp=1.5, shared=1.0)
    np.testing.assert_array_equal(latents, np.broadcast_to(latents[:, :, :1], latents.shape))
    np.testing.assert_array_equal(
        latents[:, :, :1], initial_latents(420, frames=1, shape=SHAPE, clamp=1.5, shared=1.0)
    )


def test_shared_noise_is_no_frames_own() -> None:
    shared = initial_latents(5, frames=1, shape=(4, 32, 32), clamp=None, shared=1.0).ravel()
    for frame in initial_latents(5, frames=4, shape=(4, 32, 32), clamp=None)[0].transpose(
        1, 0, 2, 3
    ):
        assert abs(np.corrcoef(shared, frame.ravel())[0, 1]) < 5 / np.sqrt(shared.size)


@pytest.mark.parametrize("shared", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_a_share_keeps_the_variance_and_is_the_frames_correlation(shared: float) -> None:
    latents = initial_latents(11, frames=4, shape=(4, 48, 48), clamp=None, shared=shared)[0]
    frames = latents.transpose(1, 0, 2, 3).reshape(4, -1).astype(np.float64)
    tolerance = 5 / np.sqrt(frames.shape[1])
    np.testing.assert_allclose(frames.var(axis=1), 1, atol=2 * tolerance)
    correlations = np.corrcoef(frames)
    np.testing.assert_allclose(correlations[~np.eye(4, dtype=bool)], shared, atol=tolerance)


@given(seeds, st.floats(0, 1))
def test_a_frames_noise_does_not_depend_on_the_clips_length_whatever_is_shared(
    seed: int, shared: float
) -> None:
    first = initial_latents(seed, frames=2, shape=(2, 3, 3), clamp=1.5, shared=shared)
    second = initial_latents(seed, frames=4, shape=(2, 3, 3), clamp=1.5, shared=shared)
    np.testing.assert_array_equal(first, second[:, :, :2])
    assert np.abs(second).max() <= 1.5


@pytest.mark.parametrize("shared", [-0.1, 1.001, float("nan"), float("inf")])
def test_a_share_outside_0_to_1_is_refused(shared: float) -> None:
    with pytest.raises(SettingError, match="shared noise must be from 0 to 1"):
        initial_latents(1, frames=1, shape=SHAPE, clamp=None, shared=shared)


@given(
    frames=st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    shared=st.sampled_from((0.0, 0.3, 1.0)),
)
def test_frames_asked_for_by_their_indices_are_the_clips(frames: list[int], shared: float) -> None:
    some = noise_of_frames(5, frames, shape=(4, 2, 2), clamp=1.5, shared=shared)
    for place, frame in enumerate(frames):
        alone = noise_of_frames(5, [frame], shape=(4, 2, 2), clamp=1.5, shared=shared)
        np.testing.assert_array_equal(some[:, :, place], alone[:, :, 0])
    clip = initial_latents(5, frames=3, shape=(4, 2, 2), clamp=1.5, shared=shared)
    again = noise_of_frames(5, range(3), shape=(4, 2, 2), clamp=1.5, shared=shared)
    np.testing.assert_array_equal(clip, again)


@given(seeds, st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([None, 1.5]))
def test_a_frame_drawn_alone_is_the_clips_to_the_bit(
    seed: int, shared: float, clamp: float | None
) -> None:
    how: dict[str, Any] = {"frames": 5, "shape": (2, 3, 3), "clamp": clamp, "shared": shared}
    whole = initial_latents(seed, **how)
    drawn = SeededNoise(seed, **how)
    assert drawn.shape == whole.shape
    for frame in (4, 0, 2):
        np.testing.assert_array_equal(drawn.frame(frame), whole[0, :, frame])
