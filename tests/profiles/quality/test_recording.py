"""Calls that are kept while a bundle renders: bounded, fair, and nothing else changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.recording import CallReservoir, RecordedCall, RecordingBundle
from echoexport.profiles.quality.report import QualityReport
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings


def test_calls_that_are_kept_are_bounded_and_counted(
    null_bundle: Path,
    open_waves: Callable[..., Bundle],
    make_clip: Callable[..., ComparisonClip],
    compare: Callable[..., QualityReport],
) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        report = compare(one, other, make_clip("one", frames=6), make_clip("two", frames=7))
    counts = {network.name: (network.calls, network.seen) for network in report.networks}
    assert counts["vae_decoder"] == (4, 13)
    assert counts["vae_encoder"] == (2, 2)


def test_recording_leaves_the_bundle_open_and_its_results_as_they_are(
    null_bundle: Path, open_waves: Callable[..., Bundle], make_clip: Callable[..., ComparisonClip]
) -> None:
    clip = make_clip()
    with open_waves(null_bundle) as bundle:
        recording = RecordingBundle(bundle, most=3)
        seen = np.stack(list(Session(recording).render(clip.inputs, RenderSettings(frames=5))))
        recording.close()
        plain = np.stack(list(Session(bundle).render(clip.inputs, RenderSettings(frames=5))))
    assert np.array_equal(seen, plain)
    assert {name: len(kept.calls) for name, kept in recording.reservoirs.items()}[
        "denoising_unet"
    ] == 3


def test_every_call_has_the_same_chance_to_be_kept() -> None:
    counts = np.zeros(10)
    for seed in range(600):
        reservoir = CallReservoir(3, seed=seed)
        for index in range(10):
            reservoir.offer(RecordedCall({"i": np.array([index])}, {}))
        kept = [int(call.inputs["i"][0]) for call in reservoir.calls]
        assert kept == sorted(kept) and len(kept) == 3
        counts[kept] += 1
    assert np.abs(counts / 600 - 0.3).max() < 0.08  # four standard deviations
