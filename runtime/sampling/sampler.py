"""The sampling loop: noise to latents, window by window, each as late as it may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.runtime.sampling.denoiser import Conditions, Denoiser, is_guided
from echoexport.runtime.sampling.noise import SeededNoise
from echoexport.runtime.sampling.steps import FrameLatents, StepSums
from echoexport.runtime.sampling.windows import StepWindows, Windows

_WINDOWS_AHEAD = 4  # for each lane


@dataclass(frozen=True)
class SamplingSettings:
    """Numbers of one run."""

    steps: int
    guidance: float
    """Above 1, each window costs a second, unconditional call."""
    overlap: int
    """Frames that neighbouring windows share."""

    @property
    def guided(self) -> bool:
        """Whether the unconditional half is computed too."""
        return is_guided(self.guidance)


@dataclass(frozen=True)
class SamplingStep:
    """What one step did."""

    index: int
    """Counted from 0."""
    timestep: int
    """Where the step began."""
    windows: Windows
    """The frames of each."""
    velocity: NDArray[np.float32]
    """Averaged over windows, guidance applied; (1, 4, F, h, w)."""
    latents: NDArray[np.float32]
    """Those after the step, (1, 4, F, h, w)."""


@dataclass(frozen=True)
class SamplingHooks:
    """Callbacks of a sampling."""

    on_step: Callable[[SamplingStep], None] | None = None
    """Called after each step."""
    on_call: Callable[[int, int], None] | None = None
    """Called after each window, with the calls done and the calls in all."""


def sample_latents(
    networks: Lease,
    latents: NDArray[np.float32],
    *,
    conditions: Conditions,
    settings: SamplingSettings,
    hooks: SamplingHooks | None = None,
) -> NDArray[np.float32]:
    """Denoise (1, 4, F, h, w) noise to latents of the same shape.

    See :class:`Sampling`, whose errors it raises.
    """
    return Sampling(
        networks, latents, conditions=conditions, settings=settings, hooks=hooks
    ).finish()


class Sampling:
    """A clip's sampling loop, run no further than what is asked for needs.

    A frame's latents after a step depend on the windows that hold it, these on all
    their frames a step earlier, and so on: a cone that widens by a window or so on each
    side for every step. Computing just that gives the first frames of a long clip after
    a fraction of the calls; in the end every window has run once per step, with the
    same values as step by step (but for the order in which three or more windows of a
    frame are added up). Velocities of overlapping windows are averaged, always (the
    original forgets to in two of its variants when guidance is off).

    Between two steps a frame is held from its first use to its last, so that memory
    does not grow with the clip, but for what is kept: frames in their order have some
    three windows in each step under way, and as many about the clip's end, where
    windows wrap round to its start.

    Raises:
        SettingError: a number of steps or an overlap that cannot work.
    """

    def __init__(
        self,
        networks: Lease,
        noise: NDArray[np.float32] | SeededNoise,
        *,
        conditions: Conditions,
        settings: SamplingSettings,
        hooks: SamplingHooks | None = None,
        keep: bool = True,
    ) -> None:
        """``noise`` is (1, 4, F, h, w); F is at least the bundle's window.

        ``keep`` keeps all final latents; else each frame's can be asked for once. Who
        follows the steps has all kept, and each step's held until it was told of.
        """
        manifest = networks.manifest
        self._hooks = hooks or SamplingHooks()
        self.tracer = networks.tracer
        self._settings = settings
        self._scheduler = DDIMScheduler(manifest.sampler.scheduler)
        self._timesteps = [int(t) for t in self._scheduler.timesteps(settings.steps)]
        frames = self.frames = noise.shape[2]
        self._steps = [
            StepSums(
                StepWindows(
                    frames,
                    context=manifest.window.frames,
                    overlap=settings.overlap,
                    offset=index * manifest.window.shift,
                ),
                guidance=settings.guidance,
            )
            for index in range(len(self._timesteps))
        ]
        draw = noise.frame if isinstance(noise, SeededNoise) else lambda frame: noise[0, :, frame]
        self._latents = [FrameLatents(draw), *(FrameLatents() for _ in self._steps)]
        kept = keep or self._hooks.on_step is not None
        self._kept = np.empty(noise.shape, np.float32) if kept else None
        networks.expect("denoising_unet", min(len(step.windows) for step in self._steps))
        self._denoiser = Denoiser(networks, conditions, guided=settings.guided)
        self._calls = 0
        self._told = 0

    @property
    def done(self) -> bool:
        """Whether every frame's latents are final."""
        return not self._steps[-1].left

    @property
    def held(self) -> int:
        """Frames' arrays that are held besides what is kept, of all steps together."""
        return sum(map(len, self._steps)) + sum(map(len, self._latents))

    def frame(self, index: int) -> NDArray[np.float32]:
        """The final latents of one frame, (1, 4, h, w).

        Raises:
            SettingError: it was given before, and is not kept.
        """
        # Once the first frames are out, several windows for each lane at every step:
        # with one or two, the last of a step would often run alone while the other
        # lanes wait for the next step.
        more = (
            _WINDOWS_AHEAD * self._denoiser.lanes * len(self._steps[0].windows[0])
            if self._calls
            else 1
        )
        self._run(
            [index] if self._denoiser.lanes < 2 else range(index, min(index + more, self.frames))
        )
        if self._kept is not None:
            return self._kept[:, :, index]
        final = self._latents[-1]
        if index not in final:
            raise SettingError(f"frame {index}: its latents were given before; keep=True keeps all")
        latents = final.gather([index])[:, :, 0]
        final.drop([index])
        return latents

    def finish(self) -> NDArray[np.float32]:
        """All final latents, (1, 4, F, h, w) float32.

        Raises:
            SettingError: they are not kept.
        """
        if self._kept is None:
            raise SettingError("the latents of all frames are asked for; keep=True keeps them")
        self._run(range(self.frames))
        return self._kept

    def _run(self, frames: Iterable[int]) -> None:
        """Bring these frames to the end.

        What each step must compute is found from the last step on, then computed from
        the first on.
        """
        wanted = set(frames)
        work = []
        for step in reversed(self._steps):
            windows = step.find_windows(wanted)
            work.append(windows)
            wanted = {frame for window in windows for frame in step.windows[window]}
        for index, windows in enumerate(reversed(work)):
            for window, velocities in self._denoise(index, windows):
                self._enter(index, window, velocities)

    def _denoise(
        self, index: int, windows: list[int]
    ) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
        """Velocities of a step's windows, in the windows' order.

        Windows run side by side where the engine has lanes.
        """
        step = self._steps[index]
        timestep = self._timesteps[index]
        before = self._latents[index]

        def run(window: int) -> list[NDArray[np.float32]]:
            with self.tracer.span("window", "sampling", step=index, window=window):
                return self._denoiser.run(
                    before.gather, window=step.windows[window], timestep=timestep
                )

        if min(self._denoiser.lanes, len(windows)) < 2:
            yield from ((window, run(window)) for window in windows)
            return
        numbers = count(1)

        def name_lane() -> None:
            self.tracer.name_track(f"lane {next(numbers)}")

        with ThreadPoolExecutor(self._denoiser.lanes, initializer=name_lane) as pool:
            try:
                yield from zip(windows, pool.map(run, windows), strict=True)
            finally:
                pool.shutdown(cancel_futures=True)

    def _enter(self, index: int, window: int, velocities: list[NDArray[np.float32]]) -> None:
        step = self._steps[index]
        timestep = self._timesteps[index]
        before = self._latents[index]
        complete = step.add(window, velocities)
        if complete:
            after = self._scheduler.step(
                step.combine(complete),
                timestep,
                before.gather(complete),
                steps=self._settings.steps,
            )[0]
            self._put(index + 1, complete, after)
            if self._hooks.on_step is None:  # nothing needs them any more
                step.drop(complete)
                before.drop(complete)
        self._calls += 1
        if self._hooks.on_call is not None:
            self._hooks.on_call(self._calls, len(self._steps) * len(step.windows))
        self._tell_steps()

    def _put(self, index: int, frames: list[int], latents: NDArray[np.float32]) -> None:
        """Hold what came out of a step."""
        if index == len(self._steps) and self._kept is not None:
            self._kept[:, :, frames] = latents
        else:
            self._latents[index].put(frames, latents)

    def _tell_steps(self) -> None:
        """Steps end in their order: each needs all of the one before."""
        while self._told < len(self._steps) and not self._steps[self._told].left:
            index = self._told
            step = self._steps[index]
            self._told += 1
            if self._hooks.on_step is not None:
                self._hooks.on_step(self._describe_step(index))
            step.clear()
            self._latents[index].clear()

    def _describe_step(self, index: int) -> SamplingStep:
        step = self._steps[index]
        frames = range(self.frames)
        last = index == len(self._steps) - 1
        latents = self._kept if last else self._latents[index + 1].gather(frames)
        assert latents is not None  # who follows the steps has all kept
        return SamplingStep(
            index, self._timesteps[index], tuple(step.windows), step.combine(frames), latents
        )
