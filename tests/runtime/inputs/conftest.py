"""Fixtures of the inputs' tests: drawn pictures, landmarks, a made-up face network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from echoexport.runtime.inputs.blazeface import NETWORK_SIDE, FaceNetwork


@pytest.fixture(scope="session")
def draw_gradient() -> Callable[..., np.ndarray]:
    """A function that draws a picture whose corners all differ.

    Red grows to the right, green downwards.
    """

    def draw(height: int = 80, width: int = 100) -> np.ndarray:
        picture = np.full((height, width, 3), 60, np.uint8)
        picture[..., 0] = np.linspace(0, 250, width)
        picture[..., 1] = np.linspace(0, 250, height)[:, None]
        return picture

    return draw


@pytest.fixture(scope="session")
def make_landmarks() -> Callable[..., np.ndarray]:
    """A function that draws (478,3) landmarks about a picture's middle from a seed."""

    def make(seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).uniform(200, 290, (478, 3))

    return make


@pytest.fixture(scope="session")
def answer() -> Callable[..., FaceNetwork]:
    """A function that makes a network which answers at the given anchors.

    Each is (anchor, box values, logit).
    """

    def make(*faces: tuple[int, tuple[float, float, float, float], float]) -> FaceNetwork:
        def run(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert picture.shape == (1, NETWORK_SIDE, NETWORK_SIDE, 3)
            values = np.zeros((896, 16), np.float32)
            logits = np.full(896, -20, np.float32)
            for anchor, box, logit in faces:
                values[anchor, :4] = box
                logits[anchor] = logit
            return values, logits

        return run

    return make
