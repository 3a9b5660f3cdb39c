"""What drives a face: a still mask or poses, as a bundle takes them, and the features they give.

Drives are told apart by name here alone; all else asks ``manifest.drive``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning.reference_cache import ReferenceCache, cache_key
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.errors import PortraitError, PoseError, SettingError

_Gather = Callable[[Iterable[int]], NDArray[np.float32]]
"""Frame indices of a window to its face feature, (1, C0, 1 or frames, h, w)."""

_POSE_FEATURE_BYTES = 256 * 2**20  # pose features are kept up to here, about 50 frames at 512 px


@dataclass(frozen=True)
class MaskDrive:
    """A still mask: one feature for all frames, kept with the portrait's."""

    networks: Lease
    mask: NDArray[np.uint8]
    """(H, W), 255 where the face may move."""
    cache: ReferenceCache | None

    def encode(self, frames: int) -> _Gather:
        """The feature, at once.

        Raises:
            PortraitError: the mask has another size or dtype.
        """
        feature = find_mask_feature(self.networks, self.mask, cache=self.cache)
        return lambda indices: feature

    def loop(self) -> _Gather:
        """The feature, for a stream without an end."""
        return self.encode(1)


@dataclass(frozen=True)
class PoseDrive:
    """Poses: a map a frame, encoded when a window asks for it."""

    networks: Lease
    poses: Sequence[NDArray[np.float32]]
    """(3, H, W) float32 in [0, 1] each."""

    def encode(self, frames: int) -> _Gather:
        """Features of ``frames`` frames, of which the last is held for what comes after.

        Raises:
            PoseError: fewer maps than frames, and later, a map of another shape.
        """
        if len(self.poses) < frames:
            raise PoseError(
                f"{len(self.poses)} pose maps for {frames} frames; give more poses, or ask for "
                "fewer frames"
            )
        features = PoseFeatures(self.networks, lambda index: self.poses[index])
        return lambda indices: features.window(min(index, frames - 1) for index in indices)

    def loop(self) -> _Gather:
        """Features for a stream without an end: the poses forwards, then backwards.

        Raises:
            PoseError: no map, and later, a map of another shape.
        """
        count = len(self.poses)
        if not count:
            raise PoseError("no pose maps; a stream needs at least one")
        turn = max(1, 2 * (count - 1))

        def find(index: int) -> int:
            return min(index % turn, turn - index % turn) if count > 1 else 0

        features = PoseFeatures(self.networks, lambda index: self.poses[index])
        return lambda indices: features.window(find(index) for index in indices)


def open_drive(
    networks: Lease,
    *,
    mask: NDArray[np.uint8] | None = None,
    poses: Sequence[NDArray[np.float32]] | None = None,
    cache: ReferenceCache | None = None,
) -> MaskDrive | PoseDrive:
    """What drives a clip with this bundle, out of all that is given; nothing is encoded yet.

    Raises:
        SettingError: the bundle needs what is not given.
    """
    wanted = networks.manifest.drive.name
    if wanted == "mask" and mask is not None:
        return MaskDrive(networks, mask, cache)
    if wanted == "pose" and poses is not None:
        return PoseDrive(networks, poses)
    raise SettingError(f"a bundle of variant {networks.manifest.variant!r} needs a {wanted}")


def require_poses(manifest: Manifest, poses: Path | None) -> None:
    """That a file of poses is named where a bundle is driven by them, and nowhere else.

    Raises:
        PoseError: one is missing, or one too many.
    """
    posed = manifest.drive.name == "pose"
    if posed and poses is None:
        raise PoseError(
            f"variant {manifest.variant!r} needs poses: --poses FOLDER (landmarks or drawn maps)"
        )
    if poses is not None and not posed:
        raise PoseError(f"{poses}: variant {manifest.variant!r} takes no poses; leave --poses out")


def find_mask_feature(
    networks: Lease, mask: NDArray[np.uint8], *, cache: ReferenceCache | None
) -> NDArray[np.float32]:
    """The face feature of a still mask, (1, C0, 1, h, w).

    mask: (H, W) uint8, 255 where the face may move.

    Raises:
        PortraitError: the mask has another size or dtype.
    """
    wanted = (networks.manifest.picture.height, networks.manifest.picture.width)
    if mask.shape != wanted or mask.dtype != np.uint8:
        raise PortraitError(
            f"the face mask is {mask.shape} {mask.dtype}; this bundle wants {wanted} uint8"
        )
    network = networks.manifest.drive.network
    key = cache_key("mask", networks.identity(network), mask)
    with networks.tracer.span("face", "stage"):
        found = cache.get(key) if cache is not None else None
        if found is None:
            face_map = mask.astype(np.float32)[None, None] / np.float32(255)
            found = networks.network(network)({"face_map": face_map})
            found = found if cache is None else cache.put(key, found)
    # frozen: copied to a device once, as the reference is
    return freeze(np.asarray(found["face_feature"]))[:, :, None]


class PoseFeatures:
    """Face features of pose maps, computed when a window asks for them.

    The latest used are kept. Several threads may ask.
    """

    def __init__(self, networks: Lease, maps: Callable[[int], NDArray[np.float32]]) -> None:
        self._networks = networks
        self._maps = maps
        drive = networks.manifest.drive
        picture = networks.manifest.picture
        self._network = drive.network
        self._shape = (1, drive.channels, picture.height, picture.width)
        self._kept: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def window(self, indices: Iterable[int]) -> NDArray[np.float32]:
        """(1, C0, frames, h, w) for frames ``indices``.

        Raises:
            PoseError: a map has another shape than (3, H, W).
        """
        with self._lock:
            return np.stack([self._feature(index) for index in indices], axis=2)

    def _feature(self, index: int) -> NDArray[np.float32]:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        with self._networks.tracer.span("face", "stage", frame=index):
            feature = self._encode(index)
        self._kept[index] = feature
        while len(self._kept) * feature.nbytes > _POSE_FEATURE_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return feature

    def _encode(self, index: int) -> NDArray[np.float32]:
        face_map = np.asarray(self._maps(index))[None]
        if face_map.shape != self._shape or face_map.dtype.kind not in "biuf":
            raise PoseError(
                f"pose map {index} is {face_map.shape[1:]} {face_map.dtype}; wanted "
                f"{self._shape[1:]} float32"
            )
        return self._networks.network(self._network)({"face_map": face_map})["face_feature"]
