"""One recorded call of a network: what calibration measures with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """A network's inputs as they were in a real rendering."""

    network: str
    inputs: Mapping[str, NDArray[np.float32]]
    """By name, float32, at the shapes of its ``SubnetSpec``."""
    portrait: str
    """File name of the portrait."""
    voice: str
    """File name of the voice."""
    step: int | None = None
    """Of the sampling loop, from 0; None for networks outside it."""
    steps: int | None = None
    """How many steps there were."""
    timestep: int | None = None
    """Of the sampling loop, as the scheduler has it."""
    window: int | None = None
    """Of the sampling loop, which of a step's windows."""
