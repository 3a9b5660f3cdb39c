"""One live session as it went: how soon, how late, how much the machine could do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.measuring.circumstances import Circumstances, describe_bundle_circumstances
from echoexport.profiles.measuring.rounds import ClipWork
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.files.aside import write_whole
from echoexport.runtime.inputs.voice import SAMPLE_RATE, read_voice
from echoexport.runtime.live.opening import FaceChoice, open_live
from echoexport.runtime.live.playing import PlayLog, cut_chunks, play
from echoexport.runtime.live.scheduling.clock import MonotonicClock
from echoexport.runtime.live.session import LiveSession

LIVE_RUN_SCHEMA = 1
LIVE_FPS = 25
"""Of conversations that are measured: one rate, so that figures can be compared."""
_WARM = 10  # seconds after which memory should not grow


@dataclass(frozen=True)
class LiveRun:
    """A conversation, *measured*; milliseconds of wall clock on this machine."""

    schema: int
    """``LIVE_RUN_SCHEMA`` of the release that wrote it."""
    mode: str
    """Of sampling, "renoised" or "cached"."""
    pace: str
    """"real" or "fast"; only "real" says something of delays."""
    fps: float
    """Frames a second that were asked for."""
    steps: int
    """Of the sampling loop, where the device kept up."""
    block: int
    """Frames that were drawn at once."""
    first_frame_ms: float | None
    """From the first sound to the first frame drawn for it; None where none came."""
    delay_ms: float | None
    """Median time from a frame's first sample to the frame itself."""
    delay_ms_p99: float | None
    """Of the slowest hundredth."""
    frames: int
    """Given."""
    spoken_frames: int
    """With sound, drawn."""
    late_frames: int
    """Made after they were due."""
    late_ms_p99: float
    """By how much the latest hundredth of all frames was late."""
    denoiser_calls_per_frame: float
    """Of those that were drawn."""
    fps_capacity: float
    """Frames a second that this machine could draw, all workers busy."""
    sessions_capacity: int
    """Sessions at this rate that the host would let in."""
    steps_down: int
    """How often the session did with less, as the device fell behind."""
    rss_growth: float | None
    """Memory at the end, as a share more than after ten seconds; None for shorter runs."""
    conditions: Circumstances
    """What the figures depend on."""
    arithmetic: Mapping[str, str]
    """What each network computed in."""


class Unseen:
    """A sink for frames that nobody wants to see."""

    def write(self, frame: NDArray[np.uint8], samples: NDArray[np.float32]) -> None:
        """Do nothing."""


def measure_live(work: ClipWork, *, seconds: float) -> LiveRun:
    """Speak a clip's voice to a live session for so long, at its own pace.

    The voice is repeated where it is shorter.

    Raises:
        InputError, SettingError: a file or a setting that cannot be used.
        BackendError: the bundle or one of its networks does not open or run.
    """
    clip = work.clip
    voice = read_voice(clip.voice).samples
    said = np.resize(voice, max(1, round(seconds * SAMPLE_RATE)))
    face = FaceChoice(box=clip.face_box, model=clip.face_model, poses=clip.poses)
    with (
        open_bundle(work.bundle, backend=work.backend, options=work.options) as bundle,
        open_live(
            bundle, clip.portrait, face=face, fps=LIVE_FPS, steps=clip.settings.steps
        ) as talk,
    ):
        log = play(talk, cut_chunks(said), Unseen(), clock=MonotonicClock(), paced=True)
        return describe_live_run(bundle, talk, log)


def describe_live_run(bundle: Bundle, talk: LiveSession, log: PlayLog) -> LiveRun:
    """What was just played with ``bundle`` in this process."""
    numbers = talk.numbers
    counts = talk.statistics
    share = talk.measure_share()
    delays = sorted(log.delays)
    late = sorted([*counts.late, *[0.0] * (counts.frames - len(counts.late))])
    return LiveRun(
        schema=LIVE_RUN_SCHEMA,
        mode=numbers.mode,
        pace=numbers.pace,
        fps=float(numbers.fps),
        steps=numbers.steps,
        block=numbers.block,
        first_frame_ms=None if log.first_frame is None else log.first_frame * 1e3,
        delay_ms=_rank(delays, 0.5),
        delay_ms_p99=_rank(delays, 0.99),
        frames=counts.frames,
        spoken_frames=counts.speaking_frames,
        late_frames=counts.late_frames,
        late_ms_p99=_rank(late, 0.99) or 0.0,
        denoiser_calls_per_frame=counts.calls_per_frame,
        fps_capacity=float(numbers.fps) / share if share else 0.0,
        sessions_capacity=talk.count_capacity(),
        steps_down=talk.steps_down,
        rss_growth=measure_growth(log.resident),
        conditions=describe_bundle_circumstances(bundle),
        arithmetic=bundle.arithmetic(),
    )


def measure_growth(resident: Sequence[int]) -> float | None:
    """Memory at the end over that after ten seconds, less one; None for less than that."""
    if len(resident) <= _WARM or not resident[_WARM]:
        return None
    return resident[-1] / resident[_WARM] - 1


def write_live_run(path: Path, run: LiveRun) -> None:
    """As JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(path, json.dumps(dump(asdict(run)), indent=1) + "\n")


def _rank(known: Sequence[float], share: float) -> float | None:
    """Milliseconds at a share of sorted seconds."""
    if not known:
        return None
    return known[min(len(known) - 1, int(share * len(known)))] * 1e3
