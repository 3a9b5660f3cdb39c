"""Blocks of new frames seen with those before them: what the denoiser is asked, and what stays."""

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
    RenoisedWindows,
    Sitter,
)
from echoexport.runtime.live.drawing.stream_state import PastFrame, StreamState
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid
from echoexport.runtime.sampling.denoiser import BLANKED, guide
from echoexport.runtime.sampling.noise import noise_of_frames

Arrays = Mapping[str, NDArray[np.float32]]

WINDOW = 6
SHAPE = (4, 4, 4)
SEED = 11


class FakeDenoiser:
    """Every frame's velocity depends on all frames, on what they hear and on the time."""

    def __init__(self, dtype: str = "float32") -> None:
        self.given: list[dict[str, NDArray[np.float32]]] = []
        self.dtype = dtype

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.given.append({name: array.copy() for name, array in inputs.items()})
        return {"velocity": denoise(inputs).astype(self.dtype)}


def denoise(inputs: Arrays) -> NDArray[np.float32]:
    latents = inputs["latents"]
    places = np.arange(1, latents.shape[2] + 1, dtype=np.float32)[:, None, None]
    heard = inputs["audio_tokens"].mean(axis=(2, 3))[:, None, :, None, None]
    others = latents.mean(axis=2, keepdims=True)
    time = inputs["timestep_sinusoid"].sum()
    velocity: NDArray[np.float32] = np.float32(0.6) * latents + np.float32(0.2) * others * places
    return velocity + heard + np.float32(0.01) * time * inputs["reference_gate"][0]


def show_faces(numbers: Iterable[int]) -> NDArray[np.float32]:
    """A face feature that holds its frames' numbers."""
    return np.array(list(numbers), np.float32)[None, None, :, None, None]


SITTER = Sitter({"reference_key.mid": np.full((1, 4), 7, np.float32)}, show_faces)


def draw_tokens(count: int, *, seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    numbers = np.random.default_rng(seed)
    return tuple(numbers.standard_normal((50, 4)).astype(np.float32) for _ in range(count))


def order(count: int, *, steps: int = 3, seed: int = 0) -> BlockOrder:
    return BlockOrder(SITTER, draw_tokens(count, seed=seed), steps)


def freeze_state(state: StreamState) -> list[object]:
    """All of a state, to the last bit."""
    return [
        state.next_number,
        [(frame.number, frame.latents.tobytes(), frame.tokens.tobytes()) for frame in state.past],
    ]


@pytest.fixture
def manifest(make_null_bundle: Callable[..., Path]) -> Manifest:
    return read_manifest(make_null_bundle(frames=WINDOW))


def noise_of(manifest: Manifest, numbers: Iterable[int]) -> NDArray[np.float32]:
    clamp = manifest.sampler.noise_clamp
    shared = manifest.sampler.shared_noise
    return noise_of_frames(SEED, numbers, shape=SHAPE, clamp=clamp, shared=shared)


def make_sampler(
    manifest: Manifest, denoiser: Callable[[Arrays], dict[str, np.ndarray]], guidance: float = 1.0
) -> RenoisedWindows:
    return RenoisedWindows(denoiser, manifest, seed=SEED, guidance=guidance)


def test_a_first_window_is_a_plain_window_of_the_clips_sampler(manifest: Manifest) -> None:
    denoiser = FakeDenoiser()
    wanted = order(WINDOW)
    state = make_sampler(manifest, denoiser).begin(wanted)
    scheduler = DDIMScheduler(manifest.sampler.scheduler)
    latents = noise_of(manifest, range(WINDOW))
    for call, timestep in zip(denoiser.given, scheduler.timesteps(3), strict=True):
        assert np.array_equal(call["latents"], latents)
        assert np.array_equal(call["timestep_sinusoid"], sinusoid([int(timestep)], 8))
        assert np.array_equal(call["audio_tokens"][0], np.stack(wanted.tokens))
        assert call["face_feature"].reshape(-1).tolist() == list(range(WINDOW))
        assert call["reference_gate"].tolist() == [1.0]
        assert np.array_equal(call["reference_key.mid"], SITTER.reference["reference_key.mid"])
        latents = scheduler.step(denoise(call), int(timestep), latents, steps=3)[0]
    drawn = np.stack([frame.latents for frame in state.past], axis=2)
    assert np.array_equal(drawn, latents[:, :, 1:])  # a state needs one less than a window
    assert state.next_number == WINDOW


@pytest.mark.parametrize("new", [1, 2, 4])
def test_past_frames_are_noised_to_each_steps_level_with_their_own_noise(
    manifest: Manifest, new: int
) -> None:
    denoiser = FakeDenoiser()
    sampler = make_sampler(manifest, denoiser)
    before = sampler.begin(order(WINDOW))
    denoiser.given.clear()
    wanted = order(new, seed=1)
    after = sampler.draw(before, wanted)
    past = before.past[-(WINDOW - new) :]
    clean = np.stack([frame.latents for frame in past], axis=2)
    numbers = [frame.number for frame in past]
    scheduler = DDIMScheduler(manifest.sampler.scheduler)
    x = noise_of(manifest, range(WINDOW, WINDOW + new))
    for call, timestep in zip(denoiser.given, scheduler.timesteps(3), strict=True):
        signal, share = scheduler.mix(int(timestep))
        noised = signal * clean + share * noise_of(manifest, numbers)
        assert np.array_equal(call["latents"], np.concatenate([noised, x], axis=2))
        tokens = [*(frame.tokens for frame in past), *wanted.tokens]
        assert np.array_equal(call["audio_tokens"][0], np.stack(tokens))
        assert call["face_feature"].reshape(-1).tolist() == [*numbers, *range(6, 6 + new)]
        velocity = denoise(call)[:, :, -new:]
        x = scheduler.step(velocity, int(timestep), x, steps=3)[0]
    drawn = np.stack([frame.latents for frame in after.past[-new:]], axis=2)
    assert np.array_equal(drawn, x)


def test_numbers_and_tokens_go_with_their_frames_from_block_to_block(manifest: Manifest) -> None:
    sampler = make_sampler(manifest, FakeDenoiser())
    state = sampler.begin(order(WINDOW))
    heard = list(draw_tokens(WINDOW))
    for seed, new in enumerate([2, 1, 4, 3], start=1):
        state = sampler.draw(state, order(new, seed=seed))
        heard += draw_tokens(new, seed=seed)
        assert state.next_number == len(heard)
        assert len(state.past) == sampler.keep == WINDOW - 1
        numbers = range(len(heard) - sampler.keep, len(heard))
        assert [frame.number for frame in state.past] == list(numbers)
        kept = [frame.tokens for frame in state.past]
        assert np.array_equal(np.stack(kept), np.stack(heard[-sampler.keep :]))
        assert state.features is None


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_state_never_changes_and_gives_the_same_block_again(
    manifest: Manifest, guidance: float
) -> None:
    sampler = make_sampler(manifest, FakeDenoiser(), guidance)
    state = sampler.begin(order(WINDOW))
    before = freeze_state(state)
    first = sampler.draw(state, order(2, seed=1))
    frozen = freeze_state(first)
    sampler.draw(first, order(2, seed=2))
    assert freeze_state(state) == before
    assert freeze_state(first) == frozen
    assert freeze_state(sampler.draw(state, order(2, seed=1))) == frozen
    other = make_sampler(manifest, FakeDenoiser(), guidance)
    assert freeze_state(other.draw(state, order(2, seed=1))) == frozen


def test_steps_may_change_at_every_block(manifest: Manifest) -> None:
    denoiser = FakeDenoiser()
    sampler = make_sampler(manifest, denoiser)
    state = sampler.begin(order(WINDOW, steps=4))
    for steps in (2, 4, 1):
        denoiser.given.clear()
        state = sampler.draw(state, order(2, steps=steps))
        assert len(denoiser.given) == steps


def test_what_a_block_hears_and_what_came_before_it_both_count(manifest: Manifest) -> None:
    sampler = make_sampler(manifest, FakeDenoiser())
    state = sampler.begin(order(WINDOW))
    other = sampler.begin(order(WINDOW, seed=5))
    drawn = [
        sampler.draw(before, order(2, seed=seed)).past[-1].latents
        for before, seed in [(state, 1), (state, 2), (other, 1)]
    ]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_guidance_costs_a_blank_call_and_moves_the_velocity(manifest: Manifest) -> None:
    denoiser = FakeDenoiser()
    state = make_sampler(manifest, denoiser, 3.0).begin(order(WINDOW, steps=1))
    told, blank = denoiser.given
    for name in told:
        wanted = np.zeros_like(told[name]) if name in BLANKED else told[name]
        assert np.array_equal(blank[name], wanted), name
    velocity = guide(denoise(told), denoise(blank), 3.0)
    scheduler = DDIMScheduler(manifest.sampler.scheduler)
    latents = scheduler.step(velocity, 999, told["latents"], steps=1)[0]
    assert np.array_equal(state.past[-1].latents, latents[:, :, -1])


@pytest.mark.parametrize(("guidance", "calls"), [(1.0, 3), (2.0, 6)])
def test_a_block_that_nobody_wants_ends_before_the_next_call(
    manifest: Manifest, guidance: float, calls: int
) -> None:
    for allowed in range(calls + 1):
        denoiser = FakeDenoiser()
        sampler = make_sampler(manifest, denoiser, guidance)
        wanted = replace(
            order(WINDOW),
            unwanted=lambda given=denoiser.given, most=allowed: len(given) >= most,
        )
        if allowed < calls:
            with pytest.raises(BlockCancelledError):
                sampler.begin(wanted)
        else:
            sampler.begin(wanted)
        assert len(denoiser.given) == allowed


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_velocities_that_are_no_numbers_are_refused(
    manifest: Manifest, bad: float, guidance: float
) -> None:
    def spoil(inputs: Arrays) -> dict[str, np.ndarray]:
        velocity = denoise(inputs)
        # with guidance, in the blank half alone
        if guidance == 1.0 or not inputs["reference_gate"][0]:
            velocity[0, 1, 3, 2, 2] = bad
        return {"velocity": velocity}

    with pytest.raises(BackendError, match="the denoiser gave NaN or infinite numbers"):
        make_sampler(manifest, spoil, guidance).begin(order(WINDOW))


def test_half_precision_gives_states_of_float32(manifest: Manifest) -> None:
    state = make_sampler(manifest, FakeDenoiser("float16")).begin(order(WINDOW))
    assert {frame.latents.dtype.name for frame in state.past} == {"float32"}


def test_a_block_needs_as_many_frames_before_it_as_fill_the_window(manifest: Manifest) -> None:
    sampler = make_sampler(manifest, FakeDenoiser())
    latents = np.zeros((1, *SHAPE), np.float32)
    short = StreamState((PastFrame(0, latents, draw_tokens(1)[0]),), 1)
    with pytest.raises(BackendError, match="a block of 2 frames after 1: 4 are wanted"):
        sampler.draw(short, order(2))


@pytest.mark.parametrize("count", [0, WINDOW + 1])
def test_a_block_that_fits_no_window_is_refused(manifest: Manifest, count: int) -> None:
    with pytest.raises(BackendError, match=f"a block of {count} frames; 1 to 6 fit"):
        make_sampler(manifest, FakeDenoiser()).draw(StreamState(), order(count))


def test_noise_is_shared_and_clamped_as_the_bundle_says(manifest: Manifest) -> None:
    shared = replace(manifest, sampler=replace(manifest.sampler, shared_noise=1.0, noise_clamp=0.5))
    denoiser = FakeDenoiser()
    make_sampler(shared, denoiser).begin(order(WINDOW))
    noise = denoiser.given[0]["latents"]
    assert np.array_equal(noise, np.repeat(noise[:, :, :1], WINDOW, axis=2))
    assert np.abs(noise).max() == 0.5
