"""Clips that nothing was trained on, in one small file.

Gates need no speech synthesizer where they run.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.speech import STATE_RATE as _MADE_RATE
from echoexport.export.demo.speech import SpeechClip, plan_clips, speak_clip
from echoexport.export.demo.world.state import STATE_WIDTH, FaceState
from echoexport.runtime.errors import AudioError, InputError, SettingError
from echoexport.runtime.files.aside import refuse_output, replaced_file
from echoexport.runtime.inputs.voice import SAMPLE_RATE

__all__ = [
    "HeldOutClip",
    "make_silent_clip",
    "pack_clips",
    "read_held_out",
    "write_held_out",
]

# Rows of states a second, half of what the synthesizer gives: lips are slower.
HELD_OUT_STATE_RATE = 50
BIT_RATE = 32_000
_CODEC_RATE = 48_000  # Opus has no other
# A curve's least and largest value, which become levels 0 and 254, so that 0 of [-1, 1]
# is exactly 127.
_LEAST = np.array([0, -1, 0, 0, -1, -1, -1, -1], np.float32)
_LEVELS = 254


@dataclass(frozen=True, eq=False)
class HeldOutClip:
    """A clip with its truth."""

    name: str
    voice: str
    """Who speaks; "" for silence."""
    text: str
    """What is said."""
    samples: NDArray[np.int16]
    """(n,) at 16 kHz."""
    states: NDArray[np.float32]
    """(m, 8), 50 rows a second."""

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return len(self.samples) / SAMPLE_RATE

    @property
    def is_silent(self) -> bool:
        """Whether the mouth stays closed throughout."""
        return not self.states[:, 0].any()

    def face_states(self, fps: float, *, frames: int) -> FaceState:
        """The truth at the times of ``frames`` frames.

        It is linear between rows, and held after the last.
        """
        rows = np.arange(len(self.states)) / HELD_OUT_STATE_RATE
        times = np.arange(frames) / fps
        return FaceState.from_matrix(
            np.stack([np.interp(times, rows, curve) for curve in self.states.T], axis=1)
        )


def make_silent_clip(
    seconds: float, *, name: str, noise: float = 0.0, seed: int = 0
) -> HeldOutClip:
    """A clip in which nobody speaks, over white noise of so many levels (standard deviation)."""
    count = round(seconds * SAMPLE_RATE)
    samples = np.rint(np.random.default_rng(seed).standard_normal(count) * noise).astype(np.int16)
    return HeldOutClip(
        name,
        "",
        "",
        samples,
        np.zeros((int(seconds * HELD_OUT_STATE_RATE) + 1, STATE_WIDTH), np.float32),
    )


def write_held_out(path: Path, *, count: int = 44, silent: int = 3, seed: int = 0) -> None:
    """Speak ``count`` held-out clips, add silent ones, and pack all into a file.

    Speaking needs the synthesizer.

    Sentences and voices are those that training never draws; see ``plan_clips``. Raises
    OutputError, and what the synthesizer raises.
    """
    clips = [
        HeldOutClip(f"speech-{index:02d}", plan.voice, plan.text, *_read_made(speak_clip(plan)))
        for index, plan in enumerate(plan_clips(seed, count, held_out=True))
    ]
    quiet = [
        make_silent_clip(3.0, name=f"silence-{index}", noise=4.0 * index, seed=index)
        for index in range(silent)
    ]
    pack_clips(path, [*clips, *quiet])


def pack_clips(path: Path, clips: Sequence[HeldOutClip]) -> None:
    """Write clips into a file: sound as Ogg Opus, curves as bytes.

    Lossy: what is read back is the clip from then on.

    Raises OutputError where it cannot be written; what was there before then stays.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for index, clip in enumerate(clips):
        arrays[f"sound{index}"] = np.frombuffer(_encode_sound(clip.samples), np.uint8)
        arrays[f"states{index}"] = _quantize_states(clip.states)
    entries = [
        {"name": c.name, "voice": c.voice, "text": c.text, "samples": len(c.samples)} for c in clips
    ]
    arrays["clips"] = np.frombuffer(json.dumps(entries, ensure_ascii=False).encode(), np.uint8)
    with replaced_file(path, refuse=refuse_output) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_held_out(path: str | os.PathLike[str]) -> list[HeldOutClip]:
    """Read the clips that :func:`pack_clips` wrote.

    Raises InputError, naming the file, for any other.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            entries = json.loads(arrays["clips"].tobytes())
            return [
                _unpack(entry, arrays[f"sound{i}"], arrays[f"states{i}"])
                for i, entry in enumerate(entries)
            ]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(f"{path}: no readable file of held-out clips: {error}") from error


def _unpack(
    entry: dict[str, Any], sound: NDArray[np.uint8], states: NDArray[np.uint8]
) -> HeldOutClip:
    samples = _decode_sound(sound.tobytes(), count=int(entry["samples"]))
    curves = np.asarray(
        states.astype(np.float32) / _LEVELS * (1 - _LEAST) + _LEAST, dtype=np.float32
    )
    return HeldOutClip(str(entry["name"]), str(entry["voice"]), str(entry["text"]), samples, curves)


def _read_made(clip: SpeechClip) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Samples and every second row of the states of a clip fresh from the synthesizer."""
    return clip.samples, clip.states[:: _MADE_RATE // HELD_OUT_STATE_RATE]


def _quantize_states(states: NDArray[np.float32]) -> NDArray[np.uint8]:
    if states.ndim != 2 or states.shape[1] != STATE_WIDTH:
        raise SettingError(f"states of shape {states.shape}: wanted (n, {STATE_WIDTH})")
    levels = np.clip((states - _LEAST) / (1 - _LEAST), 0, 1) * _LEVELS
    return np.asarray(np.rint(levels), dtype=np.uint8)


def _encode_sound(samples: NDArray[np.int16]) -> bytes:
    """Mono Ogg Opus of int16 samples at 16 kHz."""
    import av

    target = io.BytesIO()
    with av.open(target, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=_CODEC_RATE, layout="mono")
        stream.bit_rate = BIT_RATE
        resampler = av.AudioResampler(format="s16", layout="mono", rate=_CODEC_RATE)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return target.getvalue()


def _decode_sound(data: bytes, *, count: int) -> NDArray[np.int16]:
    """``count`` samples at 16 kHz. Raises AudioError where the stream is damaged or too short."""
    import av

    try:
        with av.open(io.BytesIO(data)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            frames = [
                piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)
            ]
            pieces = [frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]]
    except av.FFmpegError as error:
        raise AudioError(f"a held-out clip's sound is damaged: {error.strerror}") from error
    sound = np.concatenate([np.zeros(0, np.int16), *pieces])
    if len(sound) < count - SAMPLE_RATE // 50:
        raise AudioError(
            f"a held-out clip's sound has {len(sound)} of {count} samples; write the file again"
        )
    return np.pad(sound[:count], (0, max(count - len(sound), 0)))
