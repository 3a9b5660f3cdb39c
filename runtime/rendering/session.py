"""From a portrait and a voice to frames: conditions computed, latents sampled, frames decoded."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from fractions import Fraction
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.early import begin_opening, is_small_denoiser
from echoexport.runtime.bundle.opened import Bundle, Lease
from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.conditioning.drives import open_drive
from echoexport.runtime.conditioning.reference import find_reference
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.conditioning.voice_features import VoiceFeatures
from echoexport.runtime.decoding.decoder import PictureDecoder
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.rates import exact_rate
from echoexport.runtime.rendering.ahead import run_ahead
from echoexport.runtime.rendering.settings import (
    RenderInputs,
    RenderSettings,
    count_frames,
    count_heard_columns,
    settle_hold,
    settle_sampling,
)
from echoexport.runtime.sampling.denoiser import Conditions
from echoexport.runtime.sampling.noise import SeededNoise
from echoexport.runtime.sampling.sampler import Sampling, SamplingHooks
from echoexport.runtime.trace.tracer import NULL, Tracer

_AHEAD = 24  # frames that may be sampled before they are decoded


class Rendering:
    """A clip of ``frames`` at ``fps``; what is not sampled yet is sampled when it is needed.

    Iterating decodes its frames one at a time: (H, W, 3) uint8 RGB.
    """

    def __init__(
        self,
        sampling: Sampling,
        decoder: PictureDecoder,
        *,
        frames: int,
        fps: Fraction,
        on_sampled: Callable[[], None] = lambda: None,
        ahead: int = _AHEAD,
    ) -> None:
        """``on_sampled`` is called once the sampling is over.

        A thread samples up to ``ahead`` frames before they are decoded; 0 samples and
        decodes in turns, without one.
        """
        self.frames = frames
        self.fps = fps
        self._sampling = sampling
        self._decoder = decoder
        self._on_sampled = on_sampled
        self._ahead = ahead
        self._tracer = sampling.tracer
        self.sampled = False
        self.sampling_seconds = 0.0  # spent in ``sample`` so far

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Generator[NDArray[np.uint8], None, None]:
        sampled = (self.sample(index) for index in range(self.frames))
        if self._ahead:
            sampled = run_ahead(sampled, most=self._ahead, name="sampler", tracer=self._tracer)
        with closing(sampled):
            yield from self._decoder.show(sampled)

    @property
    def latents(self) -> NDArray[np.float32]:
        """The latents of all frames, (1, 4, frames, h, w)."""
        latents = self._sampling.finish()
        self._release()
        return latents[:, :, : self.frames]

    def sample(self, index: int) -> NDArray[np.float32]:
        """One frame's latents, (1, 4, h, w): frames in their order cost least."""
        start = time.perf_counter()
        with self._tracer.span("sample", "sampling", frame=index):
            latents = self._sampling.frame(index)
        self.sampling_seconds += time.perf_counter() - start
        self._release()
        return latents

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """One frame's picture, (H, W, 3) uint8 RGB."""
        return self._decoder.decode(latents)

    def _release(self) -> None:
        if self._sampling.done and not self.sampled:
            self.sampled = True
            self._on_sampled()


class Session:
    """Renders with one bundle, which others may render with at the same time.

    ``cache`` keeps what depends on the portrait alone; None computes it every time.
    ``frugal`` gives each network back as soon as the clip needs it no more, but for a
    small denoiser: for one clip on a machine with little memory; a server keeps them.
    ``ahead`` is how many frames a thread may sample before they are decoded; with 0 all
    is done in turns. ``tracer`` is told of all that the session does. ``networks`` is
    its lease of the bundle, with counts and notes of its own. A context manager:
    leaving it lets go of the networks, which else stay for the next clip until the
    bundle closes.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        cache: ReferenceCache | None = None,
        frugal: bool = False,
        ahead: int = _AHEAD,
        tracer: Tracer = NULL,
        networks: Lease | None = None,
    ) -> None:
        """``networks``: a lease that the caller took before, in place of one of its own.

        ``frugal`` and ``tracer`` are then that lease's.
        """
        self.bundle = bundle
        self.ahead = ahead
        self.cache = cache
        self.networks = networks or bundle.lease(tracer=tracer, frugal=frugal)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the networks."""
        self.networks.close()

    def render(
        self,
        inputs: RenderInputs,
        settings: RenderSettings | None = None,
        *,
        hooks: SamplingHooks | None = None,
    ) -> Rendering:
        """Sample the latents of a whole clip; frames are decoded when the result is iterated.

        See :meth:`start`.
        """
        rendering, features = self._begin(inputs, settings or RenderSettings(), hooks=hooks)
        features.encode_all()
        rendering.latents  # noqa: B018 - asked for, and so sampled
        return rendering

    def start(
        self,
        inputs: RenderInputs,
        settings: RenderSettings | None = None,
        *,
        hooks: SamplingHooks | None = None,
        networks: Lease | None = None,
        keep: bool = True,
    ) -> Rendering:
        """Compute what the whole clip shares.

        Its voice is encoded, and its frames are sampled and decoded, as the result is
        iterated. A clip shorter than the bundle's window is padded by holding its last
        audio tokens (and pose), then cut. ``networks`` is a lease that the session's
        own lent for this clip alone; None counts and traces with the session's own.
        Without ``keep`` a frame's latents, and what was heard for it, are let go of once
        it was given: memory stays as it is however long the clip, which can be iterated
        once.

        Raises:
            SettingError: a setting that cannot work with this bundle.
            InputError: a picture, mask, pose or noise of the wrong shape.
            BackendError: an engine failed.
        """
        return self._begin(
            inputs, settings or RenderSettings(), hooks=hooks, networks=networks, keep=keep
        )[0]

    def _begin(
        self,
        inputs: RenderInputs,
        settings: RenderSettings,
        *,
        hooks: SamplingHooks | None,
        networks: Lease | None = None,
        keep: bool = True,
    ) -> tuple[Rendering, VoiceFeatures]:
        """A clip of which nothing is sampled, and what is heard in it."""
        lease = networks or self.networks
        manifest = self.bundle.manifest
        fps = exact_rate(manifest.fps if settings.fps is None else settings.fps)
        numbers = settle_sampling(self.bundle, settings)
        drive = open_drive(lease, mask=inputs.mask, poses=inputs.poses, cache=self.cache)
        self.prepare(lease)
        columns = count_heard_columns(self.bundle, settings)
        features = VoiceFeatures(lease, inputs.voice, columns=columns, keep=keep)
        frames = count_frames(settings, inputs.voice, rows=len(features), fps=fps)
        padded = max(frames, manifest.window.frames)
        with lease.tracer.span("noise", "sampling"):
            noise = self._find_noise(inputs, settings, frames=frames, padded=padded)
        conditions = Conditions(
            audio=AudioTokens(features, fps, frames=frames).window,
            face=drive.encode(frames),
            reference=find_reference(lease, inputs.picture, cache=self.cache),
        )
        later = ("audio_encoder",) if features.pieces > 1 else ()
        _let_go_of_encoders(lease, later=later)
        with lease.tracer.span("plan", "sampling"):
            sampling = Sampling(
                lease, noise, conditions=conditions, settings=numbers, hooks=hooks, keep=keep
            )
        rendering = Rendering(
            sampling,
            PictureDecoder(lease, hold=settle_hold(self.bundle, settings)),
            frames=frames,
            fps=fps,
            on_sampled=lambda: _let_go(lease, "denoising_unet", manifest.drive.network, *later),
            ahead=self.ahead,
        )
        return rendering, features

    def prepare(self, networks: Lease | None = None) -> None:
        """Begin to open the denoiser and the decoder while the caller still reads files.

        Not needed, but quicker. Large ones are left until they are needed: their memory
        is better taken later. ``networks`` as in :meth:`start`.
        """
        begin_opening(networks or self.networks)

    def _find_noise(
        self, inputs: RenderInputs, settings: RenderSettings, *, frames: int, padded: int
    ) -> NDArray[np.float32] | SeededNoise:
        """Seeded noise for the padded clip; noise that is given stands in its first frames."""
        picture = self.bundle.manifest.picture
        sampler = self.bundle.manifest.sampler
        sides = (picture.height // picture.downscale, picture.width // picture.downscale)
        shape = (picture.latent_channels, *sides)
        if inputs.noise is not None and inputs.noise.shape == (1, shape[0], padded, *sides):
            return inputs.noise.astype(np.float32)
        drawn = SeededNoise(
            settings.seed,
            frames=padded,
            shape=shape,
            clamp=sampler.noise_clamp,
            shared=sampler.shared_noise,
        )
        if inputs.noise is None:
            return drawn
        if inputs.noise.shape != (1, shape[0], frames, *sides):
            wanted = (1, shape[0], frames, *sides)
            raise SettingError(f"initial latents have shape {inputs.noise.shape}; wanted {wanted}")
        rest = [drawn.frame(index) for index in range(frames, padded)]
        return np.concatenate([inputs.noise.astype(np.float32), np.stack(rest, axis=1)[None]], 2)


def _let_go_of_encoders(networks: Lease, *, later: tuple[str, ...]) -> None:
    """Give back what has encoded the voice, the portrait, and a face that stands still.

    ``later`` are needed as frames are sampled.
    """
    done = ("audio_encoder", "vae_encoder", "reference_unet")
    _let_go(networks, *(name for name in done if name not in later))
    drive = networks.manifest.drive
    if not drive.every_frame:  # other maps are encoded as windows ask for them
        _let_go(networks, drive.network)


def _let_go(networks: Lease, *names: str) -> None:
    """Give back what a clip needs no more, but for a small denoiser."""
    for name in names:
        if name != "denoising_unet" or not is_small_denoiser(networks):
            networks.let_go(name)
