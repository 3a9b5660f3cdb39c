"""One recorded call of a network: what calibration measures with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """A network's inputs as they were in a real rendering, by name, float32, at the shapes of its ``SubnetSpec``.

    step, timestep, window: of the sampling loop, for the denoising UNet; None for the other networks. steps: how many
    there were. portrait, voice: which ones, by file name.
    """

    network: str
    inputs: Mapping[str, NDArray[np.float32]]
    portrait: str
    voice: str
    step: int | None = None
    steps: int | None = None
    timestep: int | None = None
    window: int | None = None
