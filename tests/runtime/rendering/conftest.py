"""Fixtures of the rendering's tests: a picture, a mask and a voice to render with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import Bundle, Rendering, RenderInputs, RenderSettings, Session
from echoexport.runtime.inputs.voice import voice_from_samples

SIDE = 32


@pytest.fixture(scope="session")
def inputs_for() -> Callable[..., RenderInputs]:
    """A function that gives inputs with a voice of so many seconds, others in place of its own."""

    def make(seconds: float = 0.5, **changes: Any) -> RenderInputs:
        noise = np.random.default_rng(5).uniform(-0.3, 0.3, round(16000 * seconds))
        picture = np.random.default_rng(6).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        given = {
            "picture": picture,
            "voice": voice_from_samples(noise.astype(np.float32)),
            "mask": np.full((SIDE, SIDE), 255, np.uint8),
            **changes,
        }
        return RenderInputs(**given)

    return make


@pytest.fixture(scope="session")
def render() -> Callable[..., Rendering]:
    """A function that renders with a session, or one of a bundle, and settings by name."""

    def run(with_what: Bundle | Session, inputs: RenderInputs, **settings: Any) -> Rendering:
        session = with_what if isinstance(with_what, Session) else Session(with_what)
        return session.render(inputs, RenderSettings(**settings))

    return run
