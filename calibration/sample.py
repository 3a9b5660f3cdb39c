"""One recorded call of a network: what calibration measures with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """A network's inputs as they were in a real rendering, by name, float32, at the shapes of its ``SubnetSpec``."""

    network: str
    inputs: Mapping[str, NDArray[np.float32]]
    portrait: str
    voice: str
    """portrait and voice: which ones, by file name."""
    step: int | None = None
    steps: int | None = None
    """How many there were."""
    timestep: int | None = None
    window: int | None = None
    """step, timestep and window: of the sampling loop, for the denoising UNet; None for
    the other networks."""
