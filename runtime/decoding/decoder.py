"""From latents to the pictures that are shown: the decoder network, and pixels that hold still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.decoding.pixels import hold_still, to_pixels


class PictureDecoder:
    """Turns latents into pictures with the decoder of one lease."""

    def __init__(self, networks: Lease, *, hold: int = 0) -> None:
        """``hold``: levels of 255 up to which a pixel's change is not shown; 0 shows all."""
        self._networks = networks
        self._hold = hold

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """One frame's picture, (H, W, 3) uint8 RGB, of its latents (1, 4, h, w).

        Raises:
            BackendError: the network does not open or run.
        """
        network = self._networks.network("vae_decoder")
        return to_pixels(network({"latents": latents})["picture"])

    def show(self, latents: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.uint8]]:
        """Pictures of a clip's frames in their order, each decoded when it is asked for.

        A pixel keeps the value that it was last shown with until it changes by more than
        ``hold``. Every call begins a clip of its own.
        """
        shown: NDArray[np.uint8] | None = None
        for index, frame in enumerate(latents):
            with self._networks.tracer.span("decode", "decode", frame=index):
                shown = hold_still(self.decode(frame), shown, levels=self._hold)
            yield shown
