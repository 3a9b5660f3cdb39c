"""The reference pass: a portrait's keys and values, from the cache or computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning.reference_cache import CachedArrays, ReferenceCache, cache_key
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.errors import PortraitError

_KEY_SHOWN = 12  # digits, by which a trace tells portraits apart


def find_reference(
    networks: Lease, picture: NDArray[np.uint8], *, cache: ReferenceCache | None
) -> CachedArrays:
    """A portrait's keys and values for the denoiser, from the cache where it has them.

    They are frozen (see ``held_arrays``), so that an engine copies them to its device
    once for each portrait. picture: (H, W, 3) uint8 RGB of the bundle's size. A miss
    costs one vae_encoder and one reference_unet call.

    Raises:
        PortraitError: the picture has another size or dtype.
    """
    wanted = (networks.manifest.picture.height, networks.manifest.picture.width, 3)
    if picture.shape != wanted or picture.dtype != np.uint8:
        raise PortraitError(
            f"the portrait is {picture.shape} {picture.dtype}; this bundle wants {wanted} uint8"
        )
    key = cache_key("reference", networks.identity("vae_encoder", "reference_unet"), picture)
    with networks.tracer.span("reference", "stage", portrait=key[:_KEY_SHOWN]):
        found = cache.get(key) if cache is not None else None
        if found is not None:
            return dict(found)
        latents = encode_picture(networks, picture)
        arrays = networks.network("reference_unet")({"latents": latents})
        if cache is None:
            return {name: freeze(array) for name, array in arrays.items()}
        return dict(cache.put(key, arrays))


def encode_picture(networks: Lease, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scaled latents (1, 4, h, w) of a (H, W, 3) picture.

    The VAE sees a value x as x / 127.5 - 1.
    """
    pixels = picture.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(255) * 2 - 1
    return networks.network("vae_encoder")({"picture": pixels})["latents"]
