"""The reference pass: a portrait's arrays are computed once and refused by size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning.reference import encode_picture, find_reference
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.errors import PortraitError

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_the_vae_sees_a_picture_from_minus_one_to_one_channels_first(
    means: tuple[Lease, Any],
) -> None:
    networks, backend = means
    encode_picture(networks, PICTURE)
    seen = backend.engines["vae_encoder"].given[0]
    np.testing.assert_allclose(seen[0], PICTURE.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_without_a_cache_a_portrait_is_computed_every_time(means: tuple[Lease, Any]) -> None:
    networks, _ = means
    for _ in range(2):
        find_reference(networks, PICTURE, cache=None)
    assert (networks.calls()["vae_encoder"], networks.calls()["reference_unet"]) == (2, 2)


def test_a_cached_portrait_gives_the_same_arrays_and_costs_no_call(
    means: tuple[Lease, Any],
) -> None:
    networks, _ = means
    cache = ReferenceCache(None)
    first, second = (find_reference(networks, PICTURE.copy(), cache=cache) for _ in range(2))
    assert (networks.calls()["vae_encoder"], networks.calls()["reference_unet"]) == (1, 1)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_one_pixel_makes_another_portrait(means: tuple[Lease, Any]) -> None:
    networks, _ = means
    cache = ReferenceCache(None)
    other = PICTURE.copy()
    other[-1, -1, -1] ^= 1
    find_reference(networks, PICTURE, cache=cache)
    find_reference(networks, other, cache=cache)
    assert networks.calls()["reference_unet"] == 2


@pytest.mark.parametrize(
    "picture",
    [PICTURE[:16], PICTURE[..., 0], PICTURE[..., [0, 1, 2, 2]], PICTURE.astype(np.float32)],
    ids=["too small", "grey", "with alpha", "float"],
)
def test_a_portrait_of_another_shape_or_dtype_is_refused(
    means: tuple[Lease, Any], picture: np.ndarray
) -> None:
    with pytest.raises(
        PortraitError, match=r"the portrait is \(.*; this bundle wants \(32, 32, 3\) uint8"
    ):
        find_reference(means[0], picture, cache=None)
