"""What the denoiser is told besides the noise.

The reference's keys and values, the face, the voice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache, cache_key
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.errors import PortraitError, PoseError

Arrays = dict[str, NDArray[np.float32]]

_KEY_SHOWN = 12  # digits, by which a trace tells portraits apart
_POSE_FEATURE_BYTES = 256 * 2**20  # pose features are kept up to here, about 50 frames at 512 px


def find_mask_feature(
    bundle: Bundle, mask: NDArray[np.uint8], *, cache: ReferenceCache | None
) -> NDArray[np.float32]:
    """The face feature of a still mask, (1, C0, 1, h, w).

    mask: (H, W) uint8, 255 where the face may move.

    Raises:
        PortraitError: the mask has another size or dtype.
    """
    wanted = (bundle.manifest.picture.height, bundle.manifest.picture.width)
    if mask.shape != wanted or mask.dtype != np.uint8:
        raise PortraitError(
            f"the face mask is {mask.shape} {mask.dtype}; this bundle wants {wanted} uint8"
        )
    key = cache_key("mask", bundle.identity("landmark_encoder"), mask)
    with bundle.tracer.span("face", "stage"):
        found = cache.get(key) if cache is not None else None
        if found is None:
            face_map = mask.astype(np.float32)[None, None] / np.float32(255)
            found = bundle.network("landmark_encoder")({"face_map": face_map})
            found = found if cache is None else cache.put(key, found)
    return freeze(np.asarray(found["face_feature"]))[
        :, :, None
    ]  # copied to a device once, as the reference is


class PoseFeatures:
    """Face features of pose maps, computed when a window asks for them.

    The latest used are kept.
    """

    def __init__(self, bundle: Bundle, maps: Callable[[int], NDArray[np.float32]]) -> None:
        self._bundle = bundle
        self._maps = maps
        self._shape = (1, 3, bundle.manifest.picture.height, bundle.manifest.picture.width)
        self._kept: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def window(self, indices: Iterable[int]) -> NDArray[np.float32]:
        """(1, C0, frames, h, w) for frames ``indices``.

        Raises:
            PoseError: a map has another shape than (3, H, W).
        """
        return np.stack([self._feature(index) for index in indices], axis=2)

    def _feature(self, index: int) -> NDArray[np.float32]:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        with self._bundle.tracer.span("face", "stage", frame=index):
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
        return self._bundle.network("landmark_encoder")({"face_map": face_map})["face_feature"]
