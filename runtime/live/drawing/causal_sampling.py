"""Forward-only sampling: a few new frames at a time, seen with those before them.

Two ways, measured in docs/live.md. ``RenoisedWindows`` calls the clips' denoiser on the last
P frames, noised again to each step's level with their own noise, and K new ones: least delay,
and any number of steps at any block. ``CachedFeatures`` calls a denoiser of K frames that
takes the motion features which the last P frames had at the same step: least work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.contract.live_networks import LIVE_DENOISER, find_live_denoiser
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.drawing.stream_state import Features, PastFrame, StreamState
from echoexport.runtime.live.listening.speech_tokens import NetworkCall
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid
from echoexport.runtime.sampling.denoiser import Gather, blank, guide, is_guided
from echoexport.runtime.sampling.noise import noise_of_frames

_Arrays = Mapping[str, NDArray[np.float32]]


class BlockCancelledError(Exception):
    """Nobody wants the block any more; raised between two calls of the denoiser."""


@dataclass(frozen=True)
class Sitter:
    """The portrait, as the denoiser sees it."""

    reference: _Arrays
    """Keys and values by the name of the denoiser's input."""
    face: Gather
    """Numbers of frames to their face feature, (1, C0, 1 or n, h, w)."""


@dataclass(frozen=True)
class BlockOrder:
    """What a block is drawn from."""

    sitter: Sitter
    """Whose face."""
    tokens: tuple[NDArray[np.float32], ...]
    """What its K frames hear, (tokens, width) each."""
    steps: int
    """Of the sampling loop."""
    unwanted: Callable[[], bool] = lambda: False
    """Asked before each call."""


class CausalSampler(ABC):
    """Draws the next frames of a stream; holds no stream's state."""

    name: str

    def __init__(self, manifest: Manifest, *, seed: int, guidance: float) -> None:
        self.manifest = manifest
        self._seed = seed
        self._guidance = guidance
        self._scheduler = DDIMScheduler(manifest.sampler.scheduler)
        self._time_width = _find_time_width(manifest)

    @property
    def window(self) -> int:
        """Frames that the clips' denoiser sees at once."""
        return self.manifest.window.frames

    @property
    def keep(self) -> int:
        """How many past frames a state needs."""
        return self.window - 1

    @abstractmethod
    def draw(self, state: StreamState, order: BlockOrder) -> StreamState:
        """The state after the block, whose frames are its last past ones.

        Raises:
            BackendError: an engine failed, or gave something else than numbers.
            BlockCancelledError: the order's ``unwanted`` said so.
        """

    def begin(self, order: BlockOrder) -> StreamState:
        """The state after a whole first window, which has nothing before it."""
        return self.draw(StreamState(), order)

    def _noise(self, numbers: list[int]) -> NDArray[np.float32]:
        picture = self.manifest.picture
        sampler = self.manifest.sampler
        shape = (
            picture.latent_channels,
            picture.height // picture.downscale,
            picture.width // picture.downscale,
        )
        return noise_of_frames(
            self._seed, numbers, shape=shape, clamp=sampler.noise_clamp, shared=sampler.shared_noise
        )

    def _timesteps(self, steps: int) -> list[int]:
        return [int(timestep) for timestep in self._scheduler.timesteps(steps)]

    def _describe_call(
        self, order: BlockOrder, latents: NDArray[np.float32], timestep: int, *, heard: list[int]
    ) -> dict[str, NDArray[np.float32]]:
        """Inputs that both ways share, but for the tokens."""
        return {
            "latents": latents,
            "timestep_sinusoid": sinusoid([timestep], self._time_width),
            **order.sitter.reference,
            "face_feature": order.sitter.face(heard),
            "reference_gate": np.ones(1, np.float32),
        }


class RenoisedWindows(CausalSampler):
    """The clips' denoiser on P frames of the past, noised again, and K new ones."""

    name = "renoised"

    def __init__(
        self, denoiser: NetworkCall, manifest: Manifest, *, seed: int = 0, guidance: float = 1.0
    ) -> None:
        super().__init__(manifest, seed=seed, guidance=guidance)
        self._denoiser = denoiser

    def draw(self, state: StreamState, order: BlockOrder) -> StreamState:
        """See :meth:`CausalSampler.draw`; K is at most a window, and then sees no past."""
        new = len(order.tokens)
        if not 1 <= new <= self.window:
            raise BackendError(f"a block of {new} frames; 1 to {self.window} fit the window")
        past = state.past[-(self.window - new) :] if new < self.window else ()
        missing = self.window - new - len(past)
        if missing:
            raise BackendError(
                f"a block of {new} frames after {len(past)}: {self.window - new} are wanted"
            )
        numbers = list(range(state.next_number, state.next_number + new))
        before = [frame.number for frame in past]
        tokens = np.stack([frame.tokens for frame in past] + list(order.tokens))[None]
        old = _stack_latents(past)
        old_noise = self._noise(before) if past else None
        x = self._noise(numbers)
        for timestep in self._timesteps(order.steps):
            whole = x
            if old is not None and old_noise is not None:
                signal, noise = self._scheduler.mix(timestep)
                whole = np.concatenate([signal * old + noise * old_noise, x], axis=2)
            inputs = self._describe_call(order, whole, timestep, heard=[*before, *numbers])
            velocity = self._run(order, {**inputs, "audio_tokens": tokens})[:, :, len(past) :]
            x = self._scheduler.step(velocity, timestep, x, steps=order.steps)[0]
        return state.follow(_list_frames(numbers, x, order), keep=self.keep)

    def _run(self, order: BlockOrder, inputs: _Arrays) -> NDArray[np.float32]:
        velocity = _read_velocity(_call(self._denoiser, order, inputs))
        if not is_guided(self._guidance):
            return velocity
        unconditional = _read_velocity(_call(self._denoiser, order, blank(inputs)))
        return guide(velocity, unconditional, self._guidance)


class CachedFeatures(CausalSampler):
    """A denoiser of K new frames that is given the motion features of those before."""

    name = "cached"

    def __init__(
        self, denoiser: NetworkCall, manifest: Manifest, *, seed: int = 0, guidance: float = 1.0
    ) -> None:
        super().__init__(manifest, seed=seed, guidance=guidance)
        live = find_live_denoiser(manifest)
        if live is None:
            raise BackendError(f"mode {self.name!r}: this bundle has no {LIVE_DENOISER}")
        self.new_frames = live.new_frames
        self.past_frames = live.past_frames
        self._denoiser = denoiser
        self._state = live.state

    def begin(self, order: BlockOrder) -> StreamState:
        """In blocks, the first of which has nothing before it.

        Of a window that holds no whole number of them the first frames are left out.
        """
        state = StreamState()
        for start in range(len(order.tokens) % self.new_frames, len(order.tokens), self.new_frames):
            part = order.tokens[start : start + self.new_frames]
            state = self.draw(state, replace(order, tokens=part))
        return state

    def draw(self, state: StreamState, order: BlockOrder) -> StreamState:
        """See :meth:`CausalSampler.draw`.

        Features that the state lacks are computed from its past frames first, which
        costs as much as drawing these.
        """
        if len(order.tokens) != self.new_frames:
            raise BackendError(
                f"a block of {len(order.tokens)} frames; this denoiser advances {self.new_frames}"
            )
        timesteps = self._timesteps(order.steps)
        known = state.features or {}
        if not all(timestep in known for timestep in timesteps):
            known = self._recall(state, order)
        numbers = list(range(state.next_number, state.next_number + self.new_frames))
        x = self._noise(numbers)
        kept = dict[int, _Arrays]()
        for timestep in timesteps:
            velocity, kept[timestep] = self._run(
                order, x, timestep, numbers=numbers, features=known.get(timestep)
            )
            x = self._scheduler.step(velocity, timestep, x, steps=order.steps)[0]
        after = state.follow(_list_frames(numbers, x, order), keep=self.keep)
        return replace(after, features=kept)

    def _recall(self, state: StreamState, order: BlockOrder) -> Features:
        """Features of the past frames at every timestep, by running them again, noised."""
        count = min(len(state.past), self.past_frames) // self.new_frames * self.new_frames
        past = state.past[len(state.past) - count :]
        found = dict[int, _Arrays]()
        for timestep in self._timesteps(order.steps) if count else ():
            signal, noise = self._scheduler.mix(timestep)
            for start in range(0, count, self.new_frames):
                part = past[start : start + self.new_frames]
                numbers = [frame.number for frame in part]
                clean = _stack_latents(part)
                assert clean is not None  # a part is never empty
                heard = replace(order, tokens=tuple(frame.tokens for frame in part))
                _, found[timestep] = self._run(
                    heard,
                    signal * clean + noise * self._noise(numbers),
                    timestep,
                    numbers=numbers,
                    features=found.get(timestep),
                )
        return found

    def _run(
        self,
        order: BlockOrder,
        latents: NDArray[np.float32],
        timestep: int,
        *,
        numbers: list[int],
        features: _Arrays | None,
    ) -> tuple[NDArray[np.float32], _Arrays]:
        """Velocity of the new frames, and the features for the next call at this step."""
        past = features or self._nothing()
        inputs = {
            **self._describe_call(order, latents, timestep, heard=numbers),
            "audio_tokens": np.stack(order.tokens)[None],
            **past,
        }
        outputs = _call(self._denoiser, order, inputs)
        kept = {tensor.name: outputs[name] for name, tensor in self._state.items()}
        gate = np.concatenate([past["past_gate"][:, self.new_frames :], _ones(self.new_frames)], 1)
        kept["past_gate"] = gate
        return _read_velocity(outputs), kept

    def _nothing(self) -> _Arrays:
        """The features of no past at all, which the gate shuts off."""
        empty = {t.name: np.zeros(t.shape, np.float32) for t in self._state.values()}
        return {**empty, "past_gate": np.zeros((1, self.past_frames), np.float32)}


def _call(denoiser: NetworkCall, order: BlockOrder, inputs: _Arrays) -> _Arrays:
    """A call of the denoiser, unless nobody wants the block any more."""
    if order.unwanted():
        raise BlockCancelledError
    return denoiser(inputs)


def _ones(count: int) -> NDArray[np.float32]:
    return np.ones((1, count), np.float32)


def _stack_latents(frames: tuple[PastFrame, ...]) -> NDArray[np.float32] | None:
    """(1, channels, n, h, w) of n frames, None of none."""
    return np.stack([frame.latents for frame in frames], axis=2) if frames else None


def _list_frames(
    numbers: list[int], latents: NDArray[np.float32], order: BlockOrder
) -> list[PastFrame]:
    return [
        PastFrame(number, latents[:, :, place].copy(), tokens)
        for place, (number, tokens) in enumerate(zip(numbers, order.tokens, strict=True))
    ]


def _read_velocity(outputs: _Arrays) -> NDArray[np.float32]:
    velocity = outputs["velocity"].astype(np.float32, copy=False)
    # One bad number would be in every later frame: each sees those before it.
    if not np.isfinite(velocity).all():
        raise BackendError("the denoiser gave NaN or infinite numbers")
    return velocity


def _find_time_width(manifest: Manifest) -> int:
    inputs = manifest.networks["denoising_unet"].inputs
    return next(tensor.shape[1] for tensor in inputs if tensor.name == "timestep_sinusoid")
