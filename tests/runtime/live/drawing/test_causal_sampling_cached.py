"""Blocks drawn with the features of the frames before them: what is kept, passed on, recalled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.drawing.causal_sampling import (
    BlockCancelledError,
    BlockOrder,
    CachedFeatures,
    Sitter,
)
from echoexport.runtime.live.drawing.stream_state import StreamState
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.runtime.sampling.noise import noise_of_frames

Arrays = Mapping[str, NDArray[np.float32]]

WINDOW = 6
NEW = 2
PAST = 4
SHAPE = (4, 4, 4)
SEED = 11
TAP = "mid_block.motion_modules.0.0"


class FakeDenoiser:
    """Advances two frames; a frame's feature is the mean of its latents, four are kept."""

    def __init__(self) -> None:
        self.given: list[dict[str, NDArray[np.float32]]] = []

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.given.append({name: array.copy() for name, array in inputs.items()})
        latents = inputs["latents"]
        past = inputs[f"past.{TAP}"]
        own = np.broadcast_to(latents.mean(axis=(1, 3, 4))[:, :, None, None], (1, NEW, 4, 8))
        seen = (inputs["past_gate"] * past[:, :, 0, 0]).sum()
        heard = inputs["audio_tokens"].mean(axis=(2, 3))[:, None, :, None, None]
        velocity = np.float32(0.7) * latents + np.float32(0.1) * seen + heard
        return {
            "velocity": velocity.astype(np.float32),
            f"kept.{TAP}": np.concatenate([past[:, NEW:], own], axis=1),
        }


def show_faces(numbers: Iterable[int]) -> NDArray[np.float32]:
    return np.array(list(numbers), np.float32)[None, None, :, None, None]


SITTER = Sitter({"reference_key.mid": np.full((1, 4), 7, np.float32)}, show_faces)


def order(count: int = NEW, *, steps: int = 2, seed: int = 0) -> BlockOrder:
    numbers = np.random.default_rng(seed)
    tokens = tuple(numbers.standard_normal((50, 4)).astype(np.float32) for _ in range(count))
    return BlockOrder(SITTER, tokens, steps)


def freeze_state(state: StreamState) -> list[object]:
    """All of a state, to the last bit."""
    assert state.features is not None
    return [
        state.next_number,
        [(frame.number, frame.latents.tobytes(), frame.tokens.tobytes()) for frame in state.past],
        [
            (timestep, sorted((name, array.tobytes()) for name, array in known.items()))
            for timestep, known in sorted(state.features.items())
        ],
    ]


def read_gate(call: Arrays) -> list[float]:
    return [float(value) for value in call["past_gate"][0]]


@pytest.fixture
def manifest(make_null_bundle: Callable[..., Path]) -> Manifest:
    return read_manifest(make_null_bundle(frames=WINDOW, live=True))


@pytest.fixture
def denoiser() -> FakeDenoiser:
    return FakeDenoiser()


@pytest.fixture
def sampler(manifest: Manifest, denoiser: FakeDenoiser) -> CachedFeatures:
    return CachedFeatures(denoiser, manifest, seed=SEED)


def test_sizes_are_the_networks_own(sampler: CachedFeatures) -> None:
    assert (sampler.new_frames, sampler.past_frames, sampler.keep) == (NEW, PAST, WINDOW - 1)


def test_the_first_block_sees_nothing_behind_a_shut_gate(
    sampler: CachedFeatures, denoiser: FakeDenoiser
) -> None:
    sampler.draw(StreamState(), order())
    assert len(denoiser.given) == 2
    for call in denoiser.given:
        assert read_gate(call) == [0.0] * PAST
        assert not call[f"past.{TAP}"].any()
        assert call["face_feature"].reshape(-1).tolist() == [0, 1]


def test_what_is_kept_at_a_step_is_the_past_at_the_same_step_of_the_next_block(
    sampler: CachedFeatures, denoiser: FakeDenoiser
) -> None:
    state = StreamState()
    gates = []
    kept: list[NDArray[np.float32]] = []
    for seed in range(4):
        denoiser.given.clear()
        state = sampler.draw(state, order(seed=seed))
        gates.append(read_gate(denoiser.given[0]))
        for place, call in enumerate(denoiser.given):
            assert read_gate(call) == gates[-1]
            if kept:
                assert np.array_equal(call[f"past.{TAP}"], kept[place])
        kept = [FakeDenoiser()(call)[f"kept.{TAP}"] for call in denoiser.given]
        assert call["face_feature"].reshape(-1).tolist() == [2 * seed, 2 * seed + 1]
    assert gates == [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert state.next_number == 8
    assert [frame.number for frame in state.past] == [3, 4, 5, 6, 7]


def test_a_blocks_latents_follow_the_scheduler(
    manifest: Manifest, sampler: CachedFeatures, denoiser: FakeDenoiser
) -> None:
    before = sampler.draw(StreamState(), order())
    denoiser.given.clear()
    after = sampler.draw(before, order(seed=1))
    scheduler = DDIMScheduler(manifest.sampler.scheduler)
    clamp = manifest.sampler.noise_clamp
    x = noise_of_frames(SEED, [2, 3], shape=SHAPE, clamp=clamp)
    for call, timestep in zip(denoiser.given, scheduler.timesteps(2), strict=True):
        assert np.array_equal(call["latents"], x)
        x = scheduler.step(FakeDenoiser()(call)["velocity"], int(timestep), x, steps=2)[0]
    drawn = np.stack([frame.latents for frame in after.past[-NEW:]], axis=2)
    assert np.array_equal(drawn, x)


def test_a_whole_window_begins_in_blocks(sampler: CachedFeatures) -> None:
    whole = order(WINDOW)
    state = StreamState()
    for start in range(0, WINDOW, NEW):
        state = sampler.draw(state, replace(whole, tokens=whole.tokens[start : start + NEW]))
    assert freeze_state(sampler.begin(whole)) == freeze_state(state)


def test_a_window_of_no_whole_number_of_blocks_begins_with_its_last(
    sampler: CachedFeatures,
) -> None:
    whole = order(5)
    last = replace(whole, tokens=whole.tokens[1:])
    assert freeze_state(sampler.begin(whole)) == freeze_state(sampler.begin(last))


def test_a_state_never_changes_and_gives_the_same_block_again(sampler: CachedFeatures) -> None:
    state = sampler.begin(order(WINDOW))
    before = freeze_state(state)
    first = sampler.draw(state, order(seed=1))
    frozen = freeze_state(first)
    sampler.draw(first, order(seed=2))
    assert freeze_state(state) == before
    assert freeze_state(first) == frozen
    assert freeze_state(sampler.draw(state, order(seed=1))) == frozen


def test_features_that_are_missing_are_recalled_from_the_frames(
    manifest: Manifest, sampler: CachedFeatures, denoiser: FakeDenoiser
) -> None:
    state = replace(sampler.begin(order(WINDOW)), features=None)
    denoiser.given.clear()
    after = sampler.draw(state, order(seed=1))
    assert len(denoiser.given) == 2 * (PAST // NEW) + 2
    past = state.past[-PAST:]
    scheduler = DDIMScheduler(manifest.sampler.scheduler)
    calls = iter(denoiser.given)
    recalled = []
    for timestep in scheduler.timesteps(2):
        signal, share = scheduler.mix(int(timestep))
        for start in range(0, PAST, NEW):
            call = next(calls)
            part = past[start : start + NEW]
            numbers = [frame.number for frame in part]
            clamp = manifest.sampler.noise_clamp
            noise = noise_of_frames(SEED, numbers, shape=SHAPE, clamp=clamp)
            clean = np.stack([frame.latents for frame in part], axis=2)
            assert np.array_equal(call["latents"], signal * clean + share * noise)
            tokens = np.stack([frame.tokens for frame in part])
            assert np.array_equal(call["audio_tokens"][0], tokens)
            assert call["face_feature"].reshape(-1).tolist() == numbers
            assert read_gate(call) == [0.0] * (PAST - start) + [1.0] * start
        recalled.append(FakeDenoiser()(call)[f"kept.{TAP}"])
    for call, features in zip(calls, recalled, strict=True):
        assert np.array_equal(call[f"past.{TAP}"], features)
        assert read_gate(call) == [1.0] * PAST
    assert after.features is not None
    assert sorted(after.features) == sorted(int(t) for t in scheduler.timesteps(2))


def test_other_steps_are_recalled_and_the_same_are_not(
    sampler: CachedFeatures, denoiser: FakeDenoiser
) -> None:
    state = sampler.begin(order(WINDOW, steps=4))
    counts = []
    for steps in (4, 3, 3, 4):
        denoiser.given.clear()
        state = sampler.draw(state, order(steps=steps))
        counts.append(len(denoiser.given))
    assert counts == [4, 3 * 3, 3, 4 * 3]


def test_fewer_steps_go_on_with_the_features_that_are_there(
    sampler: CachedFeatures, denoiser: FakeDenoiser
) -> None:
    state = sampler.begin(order(WINDOW, steps=4))
    denoiser.given.clear()
    sampler.draw(state, order(steps=2))  # of 999, 749, 499, 249: 999 and 499
    assert len(denoiser.given) == 2


def test_fewer_frames_than_a_block_are_not_recalled(
    sampler: CachedFeatures, denoiser: FakeDenoiser
) -> None:
    state = sampler.draw(StreamState(), order())
    denoiser.given.clear()
    sampler.draw(StreamState(state.past[:1], 1), order())
    assert len(denoiser.given) == 2
    assert read_gate(denoiser.given[0]) == [0.0] * PAST


@pytest.mark.parametrize("allowed", range(7))
def test_a_block_that_nobody_wants_ends_before_the_next_call(
    sampler: CachedFeatures, denoiser: FakeDenoiser, allowed: int
) -> None:
    state = replace(sampler.begin(order(WINDOW)), features=None)
    denoiser.given.clear()
    wanted = replace(order(), unwanted=lambda: len(denoiser.given) >= allowed)
    if allowed < 6:  # four calls recall the past, two draw
        with pytest.raises(BlockCancelledError):
            sampler.draw(state, wanted)
    else:
        sampler.draw(state, wanted)
    assert len(denoiser.given) == allowed


def test_velocities_that_are_no_numbers_are_refused(manifest: Manifest) -> None:
    def spoil(inputs: Arrays) -> dict[str, np.ndarray]:
        outputs = FakeDenoiser()(inputs)
        outputs["velocity"][0, 0, 1, 0, 0] = np.nan
        return outputs

    with pytest.raises(BackendError, match="the denoiser gave NaN or infinite numbers"):
        CachedFeatures(spoil, manifest).draw(StreamState(), order())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_blocks_have_the_networks_length(sampler: CachedFeatures, count: int) -> None:
    with pytest.raises(BackendError, match=f"a block of {count} frames; .* advances 2"):
        sampler.draw(StreamState(), order(count))
