"""The face locator against the golden arrays of the original, for masks and for poses."""

from __future__ import annotations

from typing import Any

import torch

TOLERANCE = 1e-4  # of each array's largest value; the official code in fp32 against ours


def test_the_mask_gives_the_golden_face_feature(bench: Any, relative_error: Any) -> None:
    with torch.no_grad():
        feature = bench.network("landmark_encoder")(bench.mask()[:, :, 0])
    assert (
        relative_error(feature.numpy()[:, :, None], bench.goldens["face_locator/mask_out"])
        < TOLERANCE
    )


def test_pose_maps_give_the_golden_face_features(bench: Any, relative_error: Any) -> None:
    maps = torch.clamp(0.5 + bench.input("pose_map", 0.25), 0, 1)
    with torch.no_grad():
        features = bench.pose_locator()(maps[0].transpose(0, 1))
    found = features.numpy().swapaxes(0, 1)[None]
    assert relative_error(found, bench.goldens["face_locator/pose_out"]) < TOLERANCE
