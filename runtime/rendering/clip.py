"""From files to a file: a portrait and a voice become a video, pictures or a raw stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from echoexport.runtime.bundle.opened import Bundle, Lease
from echoexport.runtime.conditioning.drives import require_poses
from echoexport.runtime.conditioning.voice_features import measure_hearing
from echoexport.runtime.inputs.face_choice import choose_face
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.inputs.pose import PoseMaps, read_poses
from echoexport.runtime.inputs.sound.stored import StoredSound, store_sound
from echoexport.runtime.inputs.voice import question_voice, read_voice
from echoexport.runtime.progress import Progress, Tell
from echoexport.runtime.rendering.session import Rendering, Session
from echoexport.runtime.rendering.settings import (
    RenderInputs,
    RenderSettings,
    count_heard_columns,
    settle_sampling,
)
from echoexport.runtime.sampling.sampler import SamplingHooks, SamplingSettings
from echoexport.runtime.sinks.open import open_sink
from echoexport.runtime.sinks.sink import FrameSink, TracedSink
from echoexport.runtime.trace.tracer import CLIP, Tracer


@dataclass(frozen=True)
class ClipRequest:
    """Files in and out."""

    portrait: Path | StoredPicture
    """A pipe that is read once is a stored one, and so with the voice."""
    voice: Path | StoredSound
    output: str
    """A ``.mp4`` or ``.mov``, a folder for PNGs, or "-" for raw RGB24 on stdout."""
    face_box: tuple[float, float, float, float] | None = None
    """(x0, y0, x1, y1) in the portrait's pixels; wins over ``face_model``."""
    face_model: Path | None = None
    poses: Path | None = None
    """For bundles of the pose variants, what :func:`echoexport.runtime.inputs.pose.read_poses`
    reads."""
    settings: RenderSettings = field(default_factory=RenderSettings)


@dataclass(frozen=True)
class ClipReport:
    """What was made, and how long it took; seconds are wall clock on this machine, *measured*."""

    frames: int
    fps: float
    preparing_seconds: float
    """Reading the files, opening engines, what the voice and the portrait give."""
    sampling_seconds: float
    """The denoiser's loop."""
    decoding_seconds: float
    """Pictures from latents, and their encoding into the output."""
    first_frame_seconds: float
    """From the start until the first frame was handed to the output."""
    seconds: float
    """All of it, the output closed."""
    calls: dict[str, int]
    """Network to how often it ran for this clip."""
    warnings: tuple[str, ...]
    """One line each."""

    @property
    def frames_per_second(self) -> float:
        """Frames of the clip by the seconds that all of it took."""
        return self.frames / self.seconds

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for one second of clip; below 1 is faster than real time."""
        return self.seconds * self.fps / self.frames


def make_clip(
    session: Session,
    request: ClipRequest,
    *,
    progress: Progress | None = None,
    warn: Tell | None = None,
    tracer: Tracer | None = None,
) -> ClipReport:
    """Render one clip into its output; interrupted or failing, it leaves nothing behind.

    ``progress`` is told of "sampling" until every window has run, then of "decoding".
    ``warn`` is told each of the report's warnings before the long work starts.
    ``tracer`` is told of this clip in place of the session's.

    Raises:
        InputError, SettingError: a file or a setting that cannot be used.
        BackendError: an engine failed.
        OutputError: the output cannot be written.
    """
    tell = progress or (lambda phase, done, total: None)
    with session.networks.lend(tracer=tracer) as networks, networks.tracer.span(CLIP, "stage"):
        return _make_clip(session, request, networks=networks, tell=tell, warn=warn)


def _make_clip(
    session: Session,
    request: ClipRequest,
    *,
    networks: Lease,
    tell: Progress,
    warn: Tell | None,
) -> ClipReport:
    begun = time.perf_counter()
    warnings = _question_guidance(session.bundle, settle_sampling(session.bundle, request.settings))
    session.prepare(networks)
    with store_sound(request.voice) as sound:
        inputs, doubts = _read_inputs(session.bundle, request, sound=sound, tracer=networks.tracer)
        with _open_sink(session.bundle, request, sound=sound, tracer=networks.tracer) as sink:
            for warning in (*warnings, *doubts):
                if warn is not None:
                    warn(warning)
            hooks = SamplingHooks(on_call=lambda done, total: tell("sampling", done, total))
            rendering = session.start(
                inputs, request.settings, hooks=hooks, networks=networks, keep=False
            )
            prepared = time.perf_counter()
            first = _write_frames(
                rendering, sink, tell=lambda done: tell("decoding", done, rendering.frames)
            )
    ended = time.perf_counter()
    return ClipReport(
        frames=rendering.frames,
        fps=float(rendering.fps),
        preparing_seconds=prepared - begun,
        sampling_seconds=rendering.sampling_seconds,
        decoding_seconds=ended - prepared - rendering.sampling_seconds,
        first_frame_seconds=first - begun,
        seconds=ended - begun,
        calls=networks.calls(),
        warnings=(*warnings, *doubts),
    )


def _read_inputs(
    bundle: Bundle, request: ClipRequest, *, sound: StoredSound, tracer: Tracer
) -> tuple[RenderInputs, tuple[str, ...]]:
    """What is rendered, and warnings about it."""
    size = (bundle.manifest.picture.width, bundle.manifest.picture.height)
    columns = count_heard_columns(bundle, request.settings)
    with tracer.span("read voice", "audio"):
        voice = read_voice(sound, most=None if columns is None else measure_hearing(columns))
    with tracer.span("portrait", "stage"):
        crop, doubts = choose_face(
            request.portrait, size, box=request.face_box, model=request.face_model
        )
        poses = _open_poses(bundle, request, size=size)
    inputs = RenderInputs(crop.picture, voice, mask=crop.mask, poses=poses)
    return inputs, doubts + question_voice(voice)


def _open_sink(
    bundle: Bundle, request: ClipRequest, *, sound: StoredSound, tracer: Tracer
) -> FrameSink:
    size = (bundle.manifest.picture.width, bundle.manifest.picture.height)
    fps = request.settings.fps or bundle.manifest.fps
    output = open_sink(request.output, size=size, fps=fps, voice_path=sound)
    return TracedSink(output, tracer) if tracer.enabled else output


def _write_frames(rendering: Rendering, sink: FrameSink, *, tell: Callable[[int], None]) -> float:
    """Every frame into the sink; returns when the first was written."""
    first = 0.0
    # an error would else keep its thread alive for as long as itself
    with closing(iter(rendering)) as frames:
        for index, frame in enumerate(frames):
            sink.write(frame)
            first = first or time.perf_counter()
            if rendering.sampled:  # until then, sampling is what takes time, and tells of itself
                tell(index + 1)
    return first


def _question_guidance(bundle: Bundle, sampling: SamplingSettings) -> tuple[str, ...]:
    manifest = bundle.manifest
    if not sampling.guidance > 1 >= manifest.sampler.guidance:
        return ()
    told = f"guidance {sampling.guidance:g}: variant {manifest.variant!r} is distilled for 1"
    return (f"{told}; each step costs two calls",)


def _open_poses(bundle: Bundle, request: ClipRequest, *, size: tuple[int, int]) -> PoseMaps | None:
    require_poses(bundle.manifest, request.poses)
    return None if request.poses is None else read_poses(request.poses, size=size)
