"""What the denoiser is told.

Computed once where it can be, refused by size and dtype where it cannot be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.drives import PoseFeatures, find_mask_feature
from echoexport.runtime.conditioning.reference import encode_picture, find_reference
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.conditioning.voice_features import encode_voice
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, EngineOptions
from echoexport.runtime.errors import PortraitError, PoseError
from echoexport.runtime.inputs.voice import voice_from_samples

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MASK = np.random.default_rng(2).integers(0, 256, (32, 32), dtype=np.uint8)


class MeanEngine:
    """Every output is filled with the mean of the first input, which is kept."""

    precision = "fp32"

    def __init__(self, spec: SubnetSpec) -> None:
        self.spec = spec
        self.given: list[np.ndarray] = []

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        first = inputs[self.spec.inputs[0].name]
        self.given.append(first.copy())
        return {t.name: np.full(t.shape, first.mean(), t.dtype) for t in self.spec.outputs}

    def close(self) -> None:
        """Nothing to close."""


class MeanBackend:
    """Opens mean engines, and keeps them by network."""

    name = "mean"

    def __init__(self) -> None:
        self.engines: dict[str, MeanEngine] = {}

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "means"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> MeanEngine:
        return self.engines.setdefault(spec.name, MeanEngine(spec))


@pytest.fixture
def means(null_bundle: Path) -> tuple[Bundle, MeanBackend]:
    backend = MeanBackend()
    return Bundle(
        null_bundle, read_manifest(null_bundle), backend=backend, options=EngineOptions()
    ), backend


def test_the_vae_sees_a_picture_from_minus_one_to_one_channels_first(
    means: tuple[Bundle, MeanBackend],
) -> None:
    bundle, backend = means
    encode_picture(bundle, PICTURE)
    seen = backend.engines["vae_encoder"].given[0]
    np.testing.assert_allclose(seen[0], PICTURE.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_the_face_locator_sees_a_mask_from_zero_to_one(means: tuple[Bundle, MeanBackend]) -> None:
    bundle, backend = means
    feature = find_mask_feature(bundle, MASK, cache=None)
    np.testing.assert_allclose(
        backend.engines["landmark_encoder"].given[0][0, 0], MASK / 255, atol=1e-6
    )
    assert feature.shape == (1, 8, 1, 4, 4)


def test_without_a_cache_a_portrait_is_computed_every_time(
    means: tuple[Bundle, MeanBackend],
) -> None:
    bundle, _ = means
    for _ in range(2):
        find_reference(bundle, PICTURE, cache=None)
    assert (bundle.calls()["vae_encoder"], bundle.calls()["reference_unet"]) == (2, 2)


def test_a_cached_portrait_gives_the_same_arrays_and_costs_no_call(
    means: tuple[Bundle, MeanBackend],
) -> None:
    bundle, _ = means
    cache = ReferenceCache(None)
    first, second = (find_reference(bundle, PICTURE.copy(), cache=cache) for _ in range(2))
    assert (bundle.calls()["vae_encoder"], bundle.calls()["reference_unet"]) == (1, 1)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_one_pixel_makes_another_portrait(means: tuple[Bundle, MeanBackend]) -> None:
    bundle, _ = means
    cache = ReferenceCache(None)
    other = PICTURE.copy()
    other[-1, -1, -1] ^= 1
    find_reference(bundle, PICTURE, cache=cache)
    find_reference(bundle, other, cache=cache)
    assert bundle.calls()["reference_unet"] == 2


def test_a_mask_is_cached_and_never_taken_for_a_portrait(means: tuple[Bundle, MeanBackend]) -> None:
    bundle, _ = means
    cache = ReferenceCache(None)
    first, second = (find_mask_feature(bundle, MASK, cache=cache) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    find_reference(bundle, np.stack([MASK] * 3, axis=2), cache=cache)
    assert (bundle.calls()["landmark_encoder"], bundle.calls()["reference_unet"]) == (1, 1)


@pytest.mark.parametrize(
    "picture",
    [PICTURE[:16], PICTURE[..., 0], PICTURE[..., [0, 1, 2, 2]], PICTURE.astype(np.float32)],
    ids=["too small", "grey", "with alpha", "float"],
)
def test_a_portrait_of_another_shape_or_dtype_is_refused(
    means: tuple[Bundle, MeanBackend], picture: np.ndarray
) -> None:
    with pytest.raises(
        PortraitError, match=r"the portrait is \(.*; this bundle wants \(32, 32, 3\) uint8"
    ):
        find_reference(means[0], picture, cache=None)


@pytest.mark.parametrize(
    "mask", [MASK[:8], MASK[..., None], MASK > 0], ids=["too small", "3-D", "boolean"]
)
def test_a_mask_of_another_shape_or_dtype_is_refused(
    means: tuple[Bundle, MeanBackend], mask: np.ndarray
) -> None:
    with pytest.raises(
        PortraitError, match=r"the face mask is \(.*; this bundle wants \(32, 32\) uint8"
    ):
        find_mask_feature(means[0], mask, cache=None)


def maps(index: int) -> np.ndarray:
    return np.full((3, 32, 32), index, np.float32)


def pose_bundle(make_null_bundle: Callable[..., Path]) -> Bundle:
    folder = make_null_bundle(face="pose")
    return Bundle(folder, read_manifest(folder), backend=MeanBackend(), options=EngineOptions())


def test_pose_features_come_in_the_order_of_the_window(
    make_null_bundle: Callable[..., Path],
) -> None:
    features = PoseFeatures(pose_bundle(make_null_bundle), maps).window([3, 0, 2])
    assert features.shape == (1, 8, 3, 4, 4)
    np.testing.assert_array_equal(features[0, 0, :, 0, 0], [3, 0, 2])


def test_each_pose_is_encoded_once_while_it_is_kept(make_null_bundle: Callable[..., Path]) -> None:
    bundle = pose_bundle(make_null_bundle)
    features = PoseFeatures(bundle, maps)
    for window in ([0, 1, 2], [1, 2, 3], [3, 0, 1]):
        features.window(window)
    assert bundle.calls()["landmark_encoder"] == 4


def test_the_poses_used_longest_ago_are_forgotten_first(
    make_null_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = pose_bundle(make_null_bundle)
    one = 8 * 4 * 4 * 4
    monkeypatch.setattr("echoexport.runtime.conditioning.drives._POSE_FEATURE_BYTES", 2 * one)
    features = PoseFeatures(bundle, maps)
    features.window([0, 1, 0, 2])  # 1 makes room for 2
    features.window([0, 2])
    assert bundle.calls()["landmark_encoder"] == 3
    features.window([1])
    assert bundle.calls()["landmark_encoder"] == 4


def test_a_pose_map_of_another_shape_is_refused_with_its_number(
    make_null_bundle: Callable[..., Path],
) -> None:
    features = PoseFeatures(
        pose_bundle(make_null_bundle), lambda index: np.zeros((3, 32, 30 + index), np.float32)
    )
    with pytest.raises(PoseError, match=r"pose map 1 is \(3, 32, 31\) float32; .*\(3, 32, 32\)"):
        features.window([2, 1])


@pytest.mark.parametrize("seconds", [0.5, 30.0, 30.5])
def test_a_voice_gives_fifty_rows_a_second_one_call_for_thirty_seconds(
    null_bundle: Path, seconds: float
) -> None:
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, int(16000 * seconds)).astype(np.float32)
    with open_bundle(null_bundle) as bundle:
        features = encode_voice(bundle, voice_from_samples(samples))
        assert bundle.calls()["audio_encoder"] == (2 if seconds > 30 else 1)
    assert features.shape == (int(50 * seconds), 5, 4)
    assert features.dtype == np.float32
