"""Two sessions on one bundle at once: each has its trace and counts, and its frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import (
    Bundle,
    EngineOptions,
    RenderInputs,
    RenderSettings,
    Session,
    Tracer,
    open_bundle,
    voice_from_samples,
)
from echoexport.runtime.bundle import early

SIDE = 64
SETTINGS = (RenderSettings(frames=9, steps=2, seed=1), RenderSettings(frames=6, steps=3, seed=2))
SECONDS = (0.5, 0.3)


@pytest.fixture(scope="module", params=["ort", "openvino"])
def shared(request: pytest.FixtureRequest, build_tiny: Callable[..., Path]) -> Any:
    """A function that opens the tiny bundle on a real engine, of one thread for exact sums."""
    pytest.importorskip({"ort": "onnxruntime"}.get(request.param, request.param))
    folder = build_tiny(frames=4, size=(SIDE, SIDE))
    options = EngineOptions(threads=1, compute="fp32")
    return lambda: open_bundle(folder, backend=request.param, options=options)


def inputs_of(number: int) -> RenderInputs:
    draw = np.random.default_rng(number)
    voice = draw.uniform(-0.3, 0.3, round(16000 * SECONDS[number])).astype(np.float32)
    return RenderInputs(
        draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
        voice_from_samples(voice),
        mask=np.full((SIDE, SIDE), 255, np.uint8),
    )


def render_alone(opened: Bundle, number: int) -> tuple[list[np.ndarray], dict[str, int], Any]:
    """Frames, calls, and what was traced, as (name, network), in any order."""
    tracer = Tracer()
    with Session(opened, frugal=number == 1, tracer=tracer) as session:
        frames = list(session.start(inputs_of(number), SETTINGS[number]))
        calls = session.networks.calls()
    ran = [span for span in tracer.spans() if span.category == "engine"]
    return frames, calls, sorted(span.name for span in ran)


def test_two_sessions_at_once_give_each_what_it_gives_alone(
    shared: Callable[[], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early, "_CLOSED_FROM", 1)  # a frugal one closes the denoiser too
    alone = []
    for number in (0, 1):
        with shared() as bundle:
            alone.append(render_alone(bundle, number))
    together: dict[int, Any] = {}
    with shared() as bundle:

        def run(number: int) -> None:
            together[number] = render_alone(bundle, number)

        threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
    for number, (frames, calls, traced) in enumerate(alone):
        assert together[number][1] == calls
        assert together[number][2] == traced
        assert len(together[number][0]) == len(frames) == SETTINGS[number].frames
        for mine, other in zip(together[number][0], frames, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_what_a_frugal_session_gives_back_another_goes_on_with(
    shared: Callable[[], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early, "_CLOSED_FROM", 1)
    with shared() as bundle, Session(bundle) as keeper:
        clip = keeper.start(inputs_of(0), SETTINGS[0])
        first = clip.decode(clip.sample(0))
        with Session(bundle, frugal=True) as frugal:
            list(frugal.start(inputs_of(1), SETTINGS[1]))
        rest = [clip.decode(clip.sample(index)) for index in range(1, clip.frames)]
        assert keeper.networks.calls()["vae_decoder"] == clip.frames
    with shared() as bundle:
        wanted = render_alone(bundle, 0)[0]
    for found, frame in zip([first, *rest], wanted, strict=True):
        np.testing.assert_array_equal(found, frame)
