"""What drives the face: a mask encoded once, poses encoded as windows ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning.drives import (
    PoseFeatures,
    find_mask_feature,
    open_drive,
    require_poses,
)
from echoexport.runtime.conditioning.reference import find_reference
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.errors import PortraitError, PoseError, SettingError

MASK = np.random.default_rng(2).integers(0, 256, (32, 32), dtype=np.uint8)


def test_the_face_locator_sees_a_mask_from_zero_to_one(means: tuple[Lease, Any]) -> None:
    networks, backend = means
    feature = find_mask_feature(networks, MASK, cache=None)
    np.testing.assert_allclose(
        backend.engines["landmark_encoder"].given[0][0, 0], MASK / 255, atol=1e-6
    )
    assert feature.shape == (1, 8, 1, 4, 4)


def test_a_mask_is_cached_and_never_taken_for_a_portrait(means: tuple[Lease, Any]) -> None:
    networks, _ = means
    cache = ReferenceCache(None)
    first, second = (find_mask_feature(networks, MASK, cache=cache) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    find_reference(networks, np.stack([MASK] * 3, axis=2), cache=cache)
    assert (networks.calls()["landmark_encoder"], networks.calls()["reference_unet"]) == (1, 1)


@pytest.mark.parametrize(
    "mask", [MASK[:8], MASK[..., None], MASK > 0], ids=["too small", "3-D", "boolean"]
)
def test_a_mask_of_another_shape_or_dtype_is_refused(
    means: tuple[Lease, Any], mask: np.ndarray
) -> None:
    with pytest.raises(
        PortraitError, match=r"the face mask is \(.*; this bundle wants \(32, 32\) uint8"
    ):
        find_mask_feature(means[0], mask, cache=None)


def maps(index: int) -> np.ndarray:
    return np.full((3, 32, 32), index, np.float32)


def test_pose_features_come_in_the_order_of_the_window(pose_networks: Lease) -> None:
    features = PoseFeatures(pose_networks, maps).window([3, 0, 2])
    assert features.shape == (1, 8, 3, 4, 4)
    np.testing.assert_array_equal(features[0, 0, :, 0, 0], [3, 0, 2])


def test_each_pose_is_encoded_once_while_it_is_kept(pose_networks: Lease) -> None:
    networks = pose_networks
    features = PoseFeatures(networks, maps)
    for window in ([0, 1, 2], [1, 2, 3], [3, 0, 1]):
        features.window(window)
    assert networks.calls()["landmark_encoder"] == 4


def test_the_poses_used_longest_ago_are_forgotten_first(
    pose_networks: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = pose_networks
    one = 8 * 4 * 4 * 4
    monkeypatch.setattr("echoexport.runtime.conditioning.drives._POSE_FEATURE_BYTES", 2 * one)
    features = PoseFeatures(networks, maps)
    features.window([0, 1, 0, 2])  # 1 makes room for 2
    features.window([0, 2])
    assert networks.calls()["landmark_encoder"] == 3
    features.window([1])
    assert networks.calls()["landmark_encoder"] == 4


def test_a_pose_map_of_another_shape_is_refused_with_its_number(pose_networks: Lease) -> None:
    features = PoseFeatures(pose_networks, lambda index: np.zeros((3, 32, 30 + index), np.float32))
    with pytest.raises(PoseError, match=r"pose map 1 is \(3, 32, 31\) float32; .*\(3, 32, 32\)"):
        features.window([2, 1])


def test_a_mask_is_encoded_at_once_and_is_the_same_for_every_frame(
    means: tuple[Lease, Any],
) -> None:
    networks, _ = means
    gather = open_drive(networks, mask=MASK).encode(9)
    assert networks.calls()["landmark_encoder"] == 1
    np.testing.assert_array_equal(gather([0, 1]), gather([7, 8]))
    assert networks.calls()["landmark_encoder"] == 1


def test_poses_are_encoded_as_windows_ask_and_the_last_is_held(pose_networks: Lease) -> None:
    gather = open_drive(pose_networks, poses=[maps(index) for index in range(5)]).encode(3)
    assert pose_networks.calls()["landmark_encoder"] == 0
    np.testing.assert_array_equal(gather([1, 2, 3, 4])[0, 0, :, 0, 0], [1, 2, 2, 2])
    assert pose_networks.calls()["landmark_encoder"] == 2


def test_of_all_that_is_given_a_bundle_takes_its_own_drive(
    means: tuple[Lease, Any], pose_networks: Lease
) -> None:
    both: dict[str, Any] = {"mask": MASK, "poses": [maps(7)]}
    assert open_drive(means[0], **both).encode(1)([0]).shape == (1, 8, 1, 4, 4)
    assert open_drive(pose_networks, **both).encode(1)([0])[0, 0, 0, 0, 0] == 7


def test_a_drive_that_is_not_given_is_asked_for_by_name(
    means: tuple[Lease, Any], pose_networks: Lease
) -> None:
    with pytest.raises(SettingError, match=r"^a bundle of variant 'acc' needs a mask$"):
        open_drive(means[0], poses=[maps(0)])
    with pytest.raises(SettingError, match=r"^a bundle of variant 'pose_acc' needs a pose$"):
        open_drive(pose_networks, mask=MASK)


def test_fewer_poses_than_frames_are_refused_with_both_counts(pose_networks: Lease) -> None:
    drive = open_drive(pose_networks, poses=[maps(0)] * 2)
    with pytest.raises(PoseError, match=r"^2 pose maps for 3 frames; give more poses"):
        drive.encode(3)


def test_a_file_of_poses_is_named_where_poses_drive_and_nowhere_else(
    means: tuple[Lease, Any], pose_networks: Lease
) -> None:
    poses = Path("maps")
    require_poses(means[0].manifest, None)
    require_poses(pose_networks.manifest, poses)
    with pytest.raises(PoseError, match=r"^maps: variant 'acc' takes no poses; leave --poses out$"):
        require_poses(means[0].manifest, poses)
    with pytest.raises(PoseError, match=r"^variant 'pose_acc' needs poses: --poses FOLDER \("):
        require_poses(pose_networks.manifest, None)
