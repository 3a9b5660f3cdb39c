"""Ways to draw forwards that are measured against each other: each is what its name says."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.profiles.quality.seams import SeamChanges
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.live.drawing.causal_sampling import Sitter
from echoexport.runtime.live.settings import LiveSettings, settle_live

Arrays = Mapping[str, NDArray[np.float32]]

WINDOW = 12
FRAMES = 30
STEPS = 3
WHOLE = (
    "hard 12",
    "re-noised 8+4",
    "re-noised 6+6",
    "clean 8+4",
    "replayed 8+4",
    "faded at the end, 3 of 12",
    "faded at every step, 3 of 12",
)


class RecordingDenoiser:
    """A frame's velocity depends on its own latents and sound, and on its neighbours if asked."""

    def __init__(self, neighbours: float = 0.0) -> None:
        self.latents: list[NDArray[np.float32]] = []
        self.neighbours = np.float32(neighbours)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        latents = inputs["latents"]
        self.latents.append(latents.copy())
        heard = inputs["audio_tokens"].mean(axis=(2, 3))[:, None, :, None, None]
        others = self.neighbours * latents.mean(axis=2, keepdims=True)
        return {"velocity": np.float32(0.5) * latents + heard + others}


@pytest.fixture(scope="module")
def candidates() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("streaming_candidates")


@pytest.fixture(scope="module")
def figures() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("streaming_figures")


@pytest.fixture
def manifest(make_null_bundle: Callable[..., Path]) -> Manifest:
    return read_manifest(make_null_bundle(frames=WINDOW))


def find_way(candidates: ModuleType, name: str) -> Any:
    return next(one for one in candidates.CANDIDATES if one.name == name)


def draw(
    candidates: ModuleType,
    manifest: Manifest,
    name: str,
    denoiser: RecordingDenoiser,
    samples: NDArray[np.int16] | None = None,
) -> Any:
    """A clip whose frames' sound is their own number."""
    scene = candidates.Scene(
        sitter=Sitter({}, lambda numbers: np.zeros((1, 1, 1, 4, 4), np.float32)),
        frames=FRAMES,
        heard=lambda frame: np.full((50, 4), frame / FRAMES, np.float32),
        silence=np.full((50, 4), -1, np.float32),
        encode=lambda columns: np.full((50, 4), columns.mean(), np.float32),
        hearing=settle_live(manifest, LiveSettings(fps=25)).hearing,
        samples=np.zeros(0, np.int16) if samples is None else samples,
    )
    way = find_way(candidates, name)
    return candidates.draw_clip(way, denoiser, scene, manifest=manifest, steps=STEPS)


@pytest.mark.parametrize("name", WHOLE)
def test_a_denoiser_that_sees_no_neighbours_makes_all_ways_equal(
    candidates: ModuleType, manifest: Manifest, name: str
) -> None:
    manifest = replace(manifest, sampler=replace(manifest.sampler, shared_noise=1.0))
    hard = draw(candidates, manifest, "hard 12", RecordingDenoiser())
    drawn = draw(candidates, manifest, name, RecordingDenoiser())
    assert len(drawn.latents) == FRAMES
    np.testing.assert_allclose(np.stack(drawn.latents), np.stack(hard.latents), atol=1e-5)


@pytest.mark.parametrize("name", WHOLE[1:])
def test_a_denoiser_that_sees_neighbours_tells_them_apart(
    candidates: ModuleType, manifest: Manifest, name: str
) -> None:
    hard = draw(candidates, manifest, "hard 12", RecordingDenoiser(0.3))
    drawn = draw(candidates, manifest, name, RecordingDenoiser(0.3))
    assert np.abs(np.stack(drawn.latents) - np.stack(hard.latents)).max() > 1e-2


def test_replayed_frames_are_seen_as_they_were_at_the_same_step(
    candidates: ModuleType, manifest: Manifest
) -> None:
    denoiser = RecordingDenoiser(0.3)
    draw(candidates, manifest, "replayed 8+4", denoiser)
    blocks = [denoiser.latents[start:][:STEPS] for start in range(0, STEPS * 4, STEPS)]
    for before, after in pairwise(blocks):
        for one, other in zip(before, after, strict=True):
            assert np.array_equal(other[:, :, :8], one[:, :, 4:])


def test_clean_context_is_the_same_at_every_step(
    candidates: ModuleType, manifest: Manifest
) -> None:
    denoiser = RecordingDenoiser(0.3)
    drawn = draw(candidates, manifest, "clean 8+4", denoiser)
    third = denoiser.latents[3 * STEPS :][:STEPS]  # after the window of silence and two blocks
    for latents in third:
        assert np.array_equal(latents[:, :, :8], np.stack(drawn.latents[:8], axis=2))


def test_a_fade_leads_from_the_older_window_to_the_newer(
    candidates: ModuleType, manifest: Manifest
) -> None:
    drawn = draw(candidates, manifest, "faded at the end, 3 of 12", RecordingDenoiser(0.3))
    way = replace(find_way(candidates, "hard 12"), name="apart", block=9)
    older = draw_window(candidates, manifest, way, first=-3)
    newer = draw_window(candidates, manifest, way, first=6)
    for place, share in enumerate((0.75, 0.5, 0.25)):
        faded = share * older[9 + place] + (1 - share) * newer[place]
        np.testing.assert_allclose(drawn.latents[6 + place], faded, atol=1e-5)
    assert drawn.starts == [0, *range(6, 10), *range(15, 19), *range(24, 28)]


def draw_window(
    candidates: ModuleType, manifest: Manifest, way: Any, *, first: int
) -> list[NDArray[np.float32]]:
    """One window by itself, from a frame on; frames before 0 are silent."""
    from echoexport.runtime.live.drawing.causal_sampling import BlockOrder
    from echoexport.runtime.live.drawing.stream_state import StreamState

    sampler = way.make(RecordingDenoiser(0.3), manifest)
    tokens = tuple(
        np.full((50, 4), -1 if frame < 0 else frame / FRAMES, np.float32)
        for frame in range(first, first + WINDOW)
    )
    sitter = Sitter({}, lambda numbers: np.zeros((1, 1, 1, 4, 4), np.float32))
    state = StreamState(next_number=WINDOW + first)
    after = sampler.draw(state, BlockOrder(sitter, tokens, STEPS))
    return [frame.latents for frame in after.past]


def test_a_session_spends_no_call_on_silence(candidates: ModuleType, manifest: Manifest) -> None:
    silent = draw(candidates, manifest, "live re-noised 8+4", RecordingDenoiser())
    assert (silent.calls, silent.starts, len(silent.latents)) == (0, [], FRAMES)
    tone = (8000 * np.sin(np.arange(FRAMES * 640) * 0.2)).astype(np.int16)
    spoken = draw(candidates, manifest, "live re-noised 8+4", RecordingDenoiser(), tone)
    assert spoken.calls == -(-FRAMES // 4) * STEPS
    assert spoken.starts == list(range(0, FRAMES, 4))


def test_delays_are_the_sound_that_a_blocks_first_frame_waits_for(candidates: ModuleType) -> None:
    assert find_way(candidates, "re-noised 8+4").delay(25) == 252.5
    assert find_way(candidates, "hard 12").delay(25) == 572.5
    assert find_way(candidates, "faded at the end, 3 of 12").delay(25) == 572.5


def make_clip(figures: ModuleType, way: str, r: float, *, jump: float = 1.0) -> Any:
    lags = tuple(r - 0.01 * abs(lag) for lag in range(-8, 9))
    still = SeamChanges(at_starts=4.0, starts=4, elsewhere=8.0, others=8)
    own = replace(still, at_starts=4.0 * jump)
    alone = figures.ClipFigures("a", way, 2, 13, 6, r, lags, 0, 10, 10, flicker=0.5)
    if way == figures.OFFLINE:
        return alone
    seams = {"mouth": own, "outside": own, "mouth_reference": still, "outside_reference": still}
    return replace(alone, **seams, psnr=40.0, psnr_worst=30.0, ssim=0.99)


def test_a_way_as_good_as_offline_misses_no_gate(figures: ModuleType) -> None:
    offline = {"a": make_clip(figures, figures.OFFLINE, 0.9)}
    found = figures.sum_up([make_clip(figures, "way", 0.9)], offline, offline, delay=252.5)
    assert (found.loss, found.lag, found.flicker, found.seam_mouth) == (0, 0, 1, 1)
    assert found.missed == ()


def test_what_is_worse_misses_its_gate_against_either_offline(figures: ModuleType) -> None:
    offline = {"a": make_clip(figures, figures.OFFLINE, 0.85)}
    default = {"a": make_clip(figures, figures.OFFLINE, 0.95)}
    clip = make_clip(figures, "way", 0.86, jump=1.15)
    found = figures.sum_up([clip], offline, default, delay=None)
    assert (found.loss, found.loss_default) == (-0.01, 0.09)
    assert found.missed == ("loss_default", "loss_default_worst", "seam_mouth")
