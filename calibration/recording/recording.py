"""Records what every network is given while real portraits speak.

The fp32 bundle renders, and samples of its networks' calls are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from echoexport.calibration.recording.draw import DrawnCall, seed_noise
from echoexport.calibration.recording.recording_inputs import RecordingInput
from echoexport.calibration.recording.recording_job import (
    RecordingJob,
    RecordingSettings,
    check_settings,
    prepare_job,
)
from echoexport.calibration.recording.set_manifest import SampleEntry, SetManifest
from echoexport.calibration.recording.set_writer import SetWriter, count_samples, recorded_alone
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.calibration.recording.watched_backend import WatchedBackend
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.engine.protocol import Arrays, EngineOptions
from echoexport.runtime.errors import CalibrationError
from echoexport.runtime.inputs.pose import PoseMaps, read_poses
from echoexport.runtime.progress import Progress
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings
from echoexport.runtime.sampling.sampler import SamplingHooks

__all__ = ["RecordingInput", "RecordingSettings", "record_set"]


def record_set(
    bundle_folder: Path,
    inputs: Sequence[RecordingInput],
    output: Path,
    *,
    settings: RecordingSettings,
    report: Progress | None = None,
) -> CalibrationSet:
    """Render with an fp32 bundle and write a set into the folder ``output``.

    An older set there is replaced. Only renderings that a sample is drawn from are run.
    Whatever ends the recording, the renderings done so far stay beside the output, and
    the same call goes on from them to the same bytes.

    Raises:
        SettingError: a limit, seed or number of steps that cannot be.
        InputError: a portrait, voice or poses that cannot be used; two inputs with the
            same two names.
        CalibrationError: the bundle is not fp32, or a network gave or got NaN or
            infinity.
        OutputError: the output is no set, is being recorded already, cannot be written,
            or the disk has no room for it.
    """
    check_settings(settings)
    with open_bundle(bundle_folder, backend=settings.backend) as opened:
        if any(entry.precision != "fp32" for entry in opened.manifest.networks.values()):
            raise CalibrationError(
                f"{bundle_folder}: not an fp32 bundle; build one: echoexport build --precision fp32"
            )
        job = prepare_job(opened, inputs, settings)
        with recorded_alone(output):
            writer = SetWriter(output, fingerprint=job.fingerprint)
            try:
                writer.require_room(job.drawn.need)
                _run(opened, job, writer, settings=settings, report=report)
            except BaseException:
                writer.drop_if_empty()
                raise
            writer.publish(_describe_set(job, writer))
    return open_set(output)


def _run(
    opened: Bundle,
    job: RecordingJob,
    writer: SetWriter,
    *,
    settings: RecordingSettings,
    report: Progress | None,
) -> None:
    """Every rendering that is not done, with the bundle's networks watched."""
    recorder = _Recorder(writer, job)
    # in fp32 whatever a network would choose; one call at a time, since calls are
    # counted
    options = EngineOptions(compute="fp32", threads=settings.threads, lanes=1)
    watched = WatchedBackend(opened.backend, recorder.see)
    # which graph of its own a backend has was chosen by a clock: the set must not depend on it
    portable = replace(
        opened.manifest,
        networks={
            name: replace(entry, graphs={}) for name, entry in opened.manifest.networks.items()
        },
    )
    with Bundle(opened.folder, portable, backend=watched, options=options) as bundle:
        _render_all(bundle, job, recorder, report=report or (lambda what, done, total: None))


def _render_all(
    bundle: Bundle, job: RecordingJob, recorder: _Recorder, *, report: Progress
) -> None:
    total = sum(job.calls_of(number) for number in job.numbers)
    done = sum(job.calls_of(number) for number in job.numbers if number in recorder.writer.done)
    report("recording", done, total)
    left = [number for number in job.numbers if number not in recorder.writer.done]
    for _, numbers in groupby(left, key=lambda number: job.inputs[number].portrait):
        # A session for each portrait: two that look alike to a network must both be seen.
        # It is left open, and with it a small denoiser, until the bundle closes.
        session = Session(bundle, cache=ReferenceCache(None), frugal=True)
        for number in numbers:
            hooks = _follow_calls(job, report, before=done, total=total)
            recorder.begin(number)
            _render(session, job, number, hooks=hooks, recorder=recorder)
            recorder.finish()
            done += job.calls_of(number)


def _follow_calls(job: RecordingJob, report: Progress, *, before: int, total: int) -> SamplingHooks:
    """Tell of each window, which is two calls where guidance is on."""
    halves = 2 if job.sampling.guided else 1
    return SamplingHooks(
        on_call=lambda calls, _: report("recording", before + calls * halves, total)
    )


def _render(
    session: Session, job: RecordingJob, number: int, *, hooks: SamplingHooks, recorder: _Recorder
) -> None:
    """Sample one rendering; of its frames, decode those that are wanted."""
    item = job.inputs[number]
    picture = session.bundle.manifest.picture
    size = (picture.width, picture.height)
    crop = item.crop(size)
    poses: PoseMaps | None = read_poses(item.poses, size=size) if item.poses is not None else None
    inputs = RenderInputs(crop.picture, job.voices[item.voice], mask=crop.mask, poses=poses)
    settings = RenderSettings(
        steps=job.sampling.steps,
        frames=job.shapes[number].frames,
        seed=seed_noise(job.described.sampling.seed, item.portrait, item.voice),
    )
    rendering = session.render(inputs, settings, hooks=hooks)
    latents = rendering.latents
    for frame in recorder.wanted_frames():
        recorder.count_from("vae_decoder", frame)
        rendering.decode(latents[:, :, frame])


class _Recorder:
    """Sees every call of a rendering, and keeps the calls that were drawn.

    It refuses calls with NaN or infinity in them.
    """

    def __init__(self, writer: SetWriter, job: RecordingJob) -> None:
        self.writer = writer
        self._job = job
        self._number = -1
        self._wanted: dict[tuple[str, int], tuple[int, DrawnCall]] = {}
        self._calls: Counter[str] = Counter()
        self._samples: dict[int, SampleEntry] = {}

    def begin(self, number: int) -> None:
        """The next calls are those of rendering ``number``."""
        self._number = number
        places = enumerate(self._job.drawn.calls)
        self._wanted = {
            (c.network, c.index): (place, c) for place, c in places if c.number == number
        }
        self._calls.clear()
        self._samples = {}

    def wanted_frames(self) -> list[int]:
        """Frames whose decoding is drawn."""
        return sorted(index for network, index in self._wanted if network == "vae_decoder")

    def count_from(self, network: str, index: int) -> None:
        """The next call of a network is its ``index``-th."""
        self._calls[network] = index

    def see(self, network: str, inputs: Arrays, outputs: Arrays) -> None:
        """One call. Raises CalibrationError for NaN or infinity in it."""
        index = self._calls[network]
        self._calls[network] += 1
        for kind, arrays in (("input", inputs), ("output", outputs)):
            for name, array in arrays.items():
                if not np.isfinite(array).all():
                    raise CalibrationError(self._describe_fault(network, f"{kind} {name!r}", index))
        place, call = self._wanted.pop((network, index), (-1, None))
        if call is None:
            return
        item = self._job.inputs[self._number]
        self._samples[place] = SampleEntry(
            network,
            item.portrait,
            item.voice,
            call.step,
            None if call.step is None else self._job.timesteps[call.step],
            call.window,
            {name: self.writer.write_array(array) for name, array in sorted(inputs.items())},
        )

    def finish(self) -> None:
        """The rendering is over: what it gave is kept."""
        if self._wanted:
            raise RuntimeError(
                f"calls that were planned did not happen: {sorted(self._wanted)[:3]}"
            )
        self.writer.finish_rendering(self._number, self._samples)

    def _describe_fault(self, network: str, tensor: str, index: int) -> str:
        item = self._job.inputs[self._number]
        where = f"call {index + 1}"
        if network == "denoising_unet":
            steps = self._job.sampling.steps
            step, rest = divmod(index, self._job.calls_of(self._number) // steps)
            window = rest // (2 if self._job.sampling.guided else 1)
            timestep = self._job.timesteps[step]
            where = f"step {step + 1} of {steps} (timestep {timestep}), window {window}"
        return (
            f"{network}: {tensor} holds NaN or infinity at {where}, with portrait "
            f"{item.portrait} and voice "
            f"{item.voice}; is the checkpoint sound? (echoexport verify tests the bundle)"
        )


def _describe_set(job: RecordingJob, writer: SetWriter) -> SetManifest:
    samples, arrays = writer.list_samples()
    return replace(
        job.described,
        counts=count_samples(samples),
        megabytes=round(sum(arrays.values()) / 1e6, 3),
        arrays=arrays,
        samples=samples,
    )
