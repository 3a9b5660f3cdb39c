"""What a session holds: a frame at a time, and no large network longer than needed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import Rendering, RenderInputs, Session, open_bundle
from echoexport.runtime.bundle import early

SIDE = 32


def test_the_frames_of_a_three_minute_clip_are_never_held_together(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    with open_bundle(null_bundle) as bundle:
        rendering = render(bundle, inputs_for(180.0), steps=1)
        next(iter(rendering))
        tracemalloc.start()
        count = sum(1 for _ in rendering)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == rendering.frames == 4320
    assert peak < 50 * SIDE * SIDE * 3  # all frames together would be 4320 of these


def test_a_sampled_clip_holds_little_besides_its_latents(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    inputs = inputs_for(20.0)
    with open_bundle(null_bundle) as bundle:
        tracemalloc.start()
        rendering = render(bundle, inputs, steps=2)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    frames = rendering.frames * SIDE * SIDE * 3
    # The engines' own arrays are a good part of it.
    assert held < rendering.latents.nbytes + frames // 2


def test_a_frugal_session_closes_each_large_network_when_the_clip_needs_it_no_more(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch, inputs_for: Callable[..., RenderInputs]
) -> None:
    monkeypatch.setattr(early, "_CLOSED_FROM", 1)
    closed: list[str] = []
    with open_bundle(null_bundle, backend="null") as bundle:
        let_go = bundle.let_go
        monkeypatch.setattr(
            bundle, "let_go", lambda name, lease: (closed.append(name), let_go(name, lease))
        )
        session = Session(bundle, frugal=True)
        rendering = session.render(inputs_for())
        assert len(list(rendering)) == rendering.frames
        assert closed[:3] == ["audio_encoder", "vae_encoder", "reference_unet"]
        assert "denoising_unet" in closed and "vae_decoder" not in closed
        assert session.networks.calls()["reference_unet"] == 1


def test_a_frugal_session_keeps_a_small_denoiser_open(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle, backend="null") as bundle:
        closed: list[str] = []
        monkeypatch.setattr(bundle, "let_go", lambda name, lease: closed.append(name))
        list(Session(bundle, frugal=True).start(inputs_for()))
        assert set(closed) == {"audio_encoder", "vae_encoder", "reference_unet", "landmark_encoder"}
        bundle.close_network = type(bundle).close_network.__get__(bundle)  # type: ignore[method-assign]


def test_frames_that_are_sampled_as_they_are_needed_are_those_of_the_whole_clip(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle, backend="null") as bundle:
        at_once = Session(bundle).render(inputs_for(0.9))
        one_by_one = Session(bundle).start(inputs_for(0.9))
        assert not one_by_one.sampled
        for frame, other in zip(at_once, one_by_one, strict=True):
            np.testing.assert_array_equal(frame, other)
        assert one_by_one.sampled
