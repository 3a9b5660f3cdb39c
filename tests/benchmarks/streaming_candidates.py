"""Ways to draw a clip's frames forwards only, one block after another, for bench_live_quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.live.drawing.causal_sampling import (
    BlockOrder,
    CachedFeatures,
    CausalSampler,
    RenoisedWindows,
    Sitter,
)
from echoexport.runtime.live.drawing.idle_loop import IdleOrder, draw_idle
from echoexport.runtime.live.drawing.stream_state import PastFrame, StreamState
from echoexport.runtime.live.listening.hearing import LOOK_AHEAD, HearingSettings
from echoexport.runtime.live.listening.speech_tokens import NetworkCall
from echoexport.runtime.live.script import Cue, Script
from echoexport.runtime.sampling.ddim import DDIMScheduler

IDLE_FRAMES = 12
"""Of the idle loop: rest alone. A session's has 2 s of it, and a blink."""

_Floats = NDArray[np.float32]


class HardWindows(RenoisedWindows):
    """Whole windows of new frames that know nothing of each other."""

    @property
    def keep(self) -> int:
        """All frames of a window, so that each comes out."""
        return self.window


class CleanContext(RenoisedWindows):
    """Past frames are shown to the denoiser as they are, without noise at any step."""

    def __init__(self, denoiser: NetworkCall, manifest: Manifest) -> None:
        super().__init__(denoiser, manifest)
        self._scheduler = _Noiseless(manifest.sampler.scheduler)


class _Noiseless(DDIMScheduler):
    """Steps as ever; what is mixed stays clean."""

    def mix(self, timestep: int) -> tuple[np.float32, np.float32]:
        """All signal, no noise."""
        return np.float32(1), np.float32(0)


class TracedWindows(RenoisedWindows):
    """Windows that remember their last frames' latents at every step; for one stream alone."""

    def __init__(self, denoiser: NetworkCall, manifest: Manifest) -> None:
        super().__init__(denoiser, manifest)
        self._traces: dict[int, list[_Floats]] = {}

    def _trace(self, numbers: Sequence[int], latents: _Floats) -> None:
        """Keep one more step of each frame; those that left the window are forgotten."""
        for place, number in enumerate(numbers):
            self._traces.setdefault(number, []).append(latents[:, :, place])
        oldest = numbers[-1] - 2 * self.window
        self._traces = {number: kept for number, kept in self._traces.items() if number > oldest}

    def _recall(self, numbers: Sequence[int], step: int) -> _Floats:
        """Latents (1, channels, n, h, w) before a step, counted from 0."""
        return np.stack([self._traces[number][step] for number in numbers], axis=2)

    def _call(
        self, order: BlockOrder, latents: _Floats, timestep: int, *, window: list[PastFrame]
    ) -> _Floats:
        """Velocity of a window's frames, of which the tokens and numbers are read."""
        heard = [frame.number for frame in window]
        inputs = self._describe_call(order, latents, timestep, heard=heard)
        tokens = np.stack([frame.tokens for frame in window])[None]
        return self._run(order, {**inputs, "audio_tokens": tokens})

    def _list_new(self, state: StreamState, order: BlockOrder) -> list[PastFrame]:
        """The block's frames before anything is drawn: noise."""
        numbers = range(state.next_number, state.next_number + len(order.tokens))
        noise = self._noise(list(numbers))
        return [
            PastFrame(number, noise[:, :, place], tokens)
            for place, (number, tokens) in enumerate(zip(numbers, order.tokens, strict=True))
        ]


class ReplayedWindows(TracedWindows):
    """Past frames are shown as they were at the same step when they were drawn themselves."""

    def draw(self, state: StreamState, order: BlockOrder) -> StreamState:
        """See :meth:`CausalSampler.draw`."""
        new = self._list_new(state, order)
        count = self.window - len(new)
        past = list(state.past[-count:]) if count else []
        before = [frame.number for frame in past]
        numbers = [frame.number for frame in new]
        x = np.stack([frame.latents for frame in new], axis=2)
        self._trace(numbers, x)
        for step, timestep in enumerate(self._timesteps(order.steps)):
            whole = np.concatenate([self._recall(before, step), x], axis=2) if past else x
            velocity = self._call(order, whole, timestep, window=[*past, *new])[:, :, len(past) :]
            x = self._scheduler.step(velocity, timestep, x, steps=order.steps)[0]
            self._trace(numbers, x)
        return state.follow(_put_in(new, x), keep=self.keep)


class FadedWindows(TracedWindows):
    """Windows that overlap by some frames, in which the older one fades into the newer one.

    So the last frames of a block change once more with the next one.
    """

    def __init__(
        self, denoiser: NetworkCall, manifest: Manifest, *, overlap: int, every_step: bool
    ) -> None:
        """``every_step``: fade the latents after each step, else the final ones alone."""
        super().__init__(denoiser, manifest)
        self._overlap = overlap
        self._every_step = every_step
        shares = np.arange(overlap, 0, -1, dtype=np.float32) / np.float32(overlap + 1)
        self._older = shares[:, None, None]

    @property
    def keep(self) -> int:
        """All frames of a window, so that each comes out."""
        return self.window

    def draw(self, state: StreamState, order: BlockOrder) -> StreamState:
        """See :meth:`CausalSampler.draw`; the overlap's frames are among the last as well."""
        old = list(state.past[-self._overlap :])
        older = {frame.number: self._traces.pop(frame.number) for frame in old}
        window = [*old, *self._list_new(state, order)]
        numbers = [frame.number for frame in window]
        x = self._noise(numbers)
        self._trace(numbers, x)
        for step, timestep in enumerate(self._timesteps(order.steps)):
            velocity = self._call(order, x, timestep, window=window)
            x = self._scheduler.step(velocity, timestep, x, steps=order.steps)[0]
            if old and (self._every_step or step == order.steps - 1):
                before = np.stack([older[frame.number][step + 1] for frame in old], axis=2)
                faded = self._older * before + (1 - self._older) * x[:, :, : len(old)]
                x = np.concatenate([faded, x[:, :, len(old) :]], axis=2)
            self._trace(numbers, x)
        settled = replace(state, past=state.past[: len(state.past) - len(old)])
        return settled.follow(_put_in(window, x), keep=self.keep)


def _put_in(frames: list[PastFrame], latents: _Floats) -> list[PastFrame]:
    return [
        replace(frame, latents=latents[:, :, place].copy()) for place, frame in enumerate(frames)
    ]


@dataclass(frozen=True)
class Candidate:
    """One way to draw forwards."""

    name: str
    make: Callable[[NetworkCall, Manifest], CausalSampler]
    """A sampler of a denoiser and a bundle's manifest."""
    block: int
    """New frames that are drawn at once."""
    revised: int = 0
    """Of these, the last that the next block changes once more."""
    live: bool = False
    """Drawn as a session draws: bounded sound, the script, the idle loop. Else each frame
    has the tokens of a whole clip."""
    network: str = "denoising_unet"
    """What it calls."""

    def delay(self, fps: float) -> float:
        """Milliseconds from the moment that a block's first frame belongs to until all that
        the block depends on has been heard."""
        return 1000 * ((self.block + self.revised - 1) / fps + float(LOOK_AHEAD))


def _fade(
    every_step: bool,
) -> Callable[[NetworkCall, Manifest], CausalSampler]:
    return lambda denoiser, manifest: FadedWindows(
        denoiser, manifest, overlap=3, every_step=every_step
    )


_CACHED = "denoising_unet_live"

CANDIDATES = (
    Candidate("hard 12", HardWindows, 12),
    Candidate("re-noised 8+4", RenoisedWindows, 4),
    Candidate("re-noised 6+6", RenoisedWindows, 6),
    Candidate("clean 8+4", CleanContext, 4),
    Candidate("replayed 8+4", ReplayedWindows, 4),
    Candidate("faded at the end, 3 of 12", _fade(every_step=False), 9, revised=3),
    Candidate("faded at every step, 3 of 12", _fade(every_step=True), 9, revised=3),
    Candidate("cached 8+4", CachedFeatures, 4, network=_CACHED),
    Candidate("live re-noised 8+4", RenoisedWindows, 4, live=True),
    Candidate("live re-noised 6+6", RenoisedWindows, 6, live=True),
    Candidate("live cached 8+4", CachedFeatures, 4, live=True, network=_CACHED),
)
"""For a window of 12 frames."""


@dataclass(frozen=True)
class Scene:
    """What a clip is drawn from."""

    sitter: Sitter
    """Whose face."""
    frames: int
    """How many are wanted."""
    heard: Callable[[int], _Floats]
    """A frame's tokens (tokens, width) out of those of the whole clip, any frame from 0."""
    silence: _Floats
    """Tokens of a frame amid silence: what came before the clip."""
    encode: Callable[[_Floats], _Floats]
    """Tokens of bounded sound, see :class:`SpeechTokens`."""
    hearing: HearingSettings
    """How a session listens."""
    samples: NDArray[np.int16]
    """The clip's sound (n,) at 16 kHz."""


@dataclass(frozen=True)
class DrawnClip:
    """Latents of a clip, and how they came about."""

    latents: list[_Floats]
    """(1, channels, h, w) for each frame."""
    starts: list[int]
    """Frames in which a block begins, or a fade between two, or the idle loop."""
    calls: int
    """Of the denoiser, those for what came before the clip not counted."""


def draw_clip(
    candidate: Candidate, denoiser: NetworkCall, scene: Scene, *, manifest: Manifest, steps: int
) -> DrawnClip:
    """Draw a clip in one way. Raises BackendError where an engine fails."""
    sampler = candidate.make(denoiser, manifest)
    if candidate.live:
        return _draw_by_script(sampler, scene, block=candidate.block, steps=steps)
    return _draw_all(sampler, scene, candidate=candidate, steps=steps)


def _draw_all(
    sampler: CausalSampler, scene: Scene, *, candidate: Candidate, steps: int
) -> DrawnClip:
    """Every frame by the denoiser, after a window of silence."""
    sitter = scene.sitter
    state = sampler.begin(BlockOrder(sitter, (scene.silence,) * sampler.window, steps))
    first = state.next_number
    latents = dict[int, _Floats]()
    blocks = range(0, scene.frames + candidate.revised, candidate.block)
    for start in blocks:
        tokens = tuple(scene.heard(frame) for frame in range(start, start + candidate.block))
        state = sampler.draw(state, BlockOrder(sitter, tokens, steps))
        for frame in state.past[-(candidate.block + candidate.revised) :]:
            latents[frame.number - first] = frame.latents
    fades = {start - back for start in blocks for back in range(candidate.revised + 1)}
    return DrawnClip(
        [latents[frame] for frame in range(scene.frames)],
        sorted(start for start in fades if 0 <= start < scene.frames),
        len(blocks) * steps,
    )


def _draw_by_script(sampler: CausalSampler, scene: Scene, *, block: int, steps: int) -> DrawnClip:
    """As a session draws the whole clip, pushed at once and flushed."""
    order = IdleOrder(
        scene.sitter,
        scene.silence,
        spoken=(),
        shut=0,
        frames=IDLE_FRAMES,
        block=block,
        steps=steps,
    )
    idle = draw_idle(sampler, order, decode=lambda latents: np.zeros((0, 0, 3), np.uint8))
    script = Script(scene.hearing)
    script.hear(scene.samples, 16_000)
    script.flush()
    drawn = list[_Floats]()
    starts = list[int]()
    calls = 0
    place = 0
    state = idle.state_at(0, keep=sampler.keep)
    while len(drawn) < scene.frames:
        cue = script.next(block) or script.ease(block)
        if cue is not None and cue.drawn:
            starts.append(len(drawn))
            state = sampler.draw(state, _order_cue(cue, scene, steps=steps))
            drawn += [frame.latents for frame in state.past[-block:]]
            calls += steps
            place = 0
        else:
            starts += [len(drawn)] if not place and drawn else []
            drawn.append(idle.at(place).past.latents)
            state = idle.state_at(place, keep=sampler.keep)
            place += 1
    return DrawnClip(
        drawn[: scene.frames], [start for start in starts if start < scene.frames], calls
    )


def _order_cue(cue: Cue, scene: Scene, *, steps: int) -> BlockOrder:
    columns = [frame.columns for frame in cue.frames if frame.columns is not None]
    return BlockOrder(scene.sitter, tuple(scene.encode(each) for each in columns), steps)
