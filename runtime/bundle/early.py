"""Networks of a clip that are opened before they are needed, and which are worth it."""

from __future__ import annotations

from echoexport.runtime.bundle.opened import Lease

__all__ = ["begin_opening", "is_small_denoiser"]

_CLOSED_FROM = 256 * 2**20
"""Bytes of weights from which a denoiser is worth closing: a small one takes 0.15 s on
a CPU, near the clip's end. The networks before it take 3 to 28 ms each and an eighth of
the demo character's peak memory (measured)."""


def begin_opening(networks: Lease) -> None:
    """Begin to open a small denoiser and the decoder in a thread, for ``networks``.

    The denoiser takes longest of all that comes before a clip's first frame, so that
    whoever starts it first has the first frame sooner: imports, the voice and the
    portrait take about as long and go on beside it. A large one is left until it is
    needed: its memory is better taken later.
    """
    if is_small_denoiser(networks):
        networks.open_ahead("denoising_unet", "vae_decoder")


def is_small_denoiser(networks: Lease) -> bool:
    """Whether the denoiser is opened early and stays open."""
    return networks.bundle.measure_weights("denoising_unet") < _CLOSED_FROM
