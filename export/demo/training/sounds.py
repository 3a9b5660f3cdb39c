"""The audio encoder's stage, and what the trained encoder makes of every clip of speech."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from echoexport.export.architecture import AudioArchitecture
from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.stage import Objective
from echoexport.export.subnets.audio_encoder import AudioEncoder, position_sinusoids
from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_SECOND
from echoexport.runtime.conditioning.mel import log_mel
from echoexport.runtime.errors import InputError
from echoexport.runtime.files.aside import refuse_output, replaced_file

_STATE_HERTZ = 100
_MEL_RANGE = 2.0  # 80 dB: the runtime cuts a log-mel so far below its peak
_POSITION_SIZE = 0.2  # of Whisper's table: the encoder should hear sounds, not clocks
# How much each curve of a face state counts: the mouth most, then lids; sway and tilt
# do not depend on the voice.
_CURVES = (4.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0)


@dataclass(frozen=True)
class Sound:
    """A clip of speech: log-mel (80, columns) and the face's states (m, 8) at 100 a second."""

    mel: NDArray[np.float32]
    states: NDArray[np.float32]

    @property
    def rows(self) -> int:
        """Rows of features: 50 a second, as the pipeline keeps them."""
        return int(self.mel.shape[1] // 2)


def describe_sound(samples: NDArray[np.int16], states: NDArray[np.float32]) -> Sound:
    """A clip with its log-mel as the runtime computes it, in the precision kept on disk."""
    mel = log_mel(samples.astype(np.float32) / np.float32(32768))
    return Sound(
        mel.astype(np.float16).astype(np.float32), states.astype(np.float16).astype(np.float32)
    )


def write_sounds(path: Path, sounds: list[Sound]) -> None:
    """Keep sounds in one file: training needs no synthesizer once it is there.

    Raises ``OutputError``.
    """
    arrays: dict[str, Any] = {
        "mels": np.concatenate([sound.mel.T for sound in sounds]).astype(np.float16),
        "states": np.concatenate([sound.states for sound in sounds]).astype(np.float16),
        "columns": np.array([sound.mel.shape[1] for sound in sounds]),
        "lengths": np.array([len(sound.states) for sound in sounds]),
    }
    with (
        replaced_file(path, parents=True, refuse=refuse_output) as aside,
        aside.open("wb") as file,
    ):
        np.savez_compressed(file, **arrays)


def read_sounds(path: Path) -> list[Sound]:
    """The sounds of such a file. Raises ``InputError``, naming it, where it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            mels = np.split(kept["mels"].astype(np.float32), np.cumsum(kept["columns"])[:-1])
            states = np.split(kept["states"].astype(np.float32), np.cumsum(kept["lengths"])[:-1])
        return [
            Sound(np.ascontiguousarray(mel.T), curve)
            for mel, curve in zip(mels, states, strict=True)
        ]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(
            f"{path}: no readable sounds ({error}); remove it to have them made anew"
        ) from error


class Listener(nn.Module):
    """The encoder with a linear reading of the face's curves from its states, for training only."""

    def __init__(self, a: AudioArchitecture) -> None:
        super().__init__()
        self.audio_encoder = AudioEncoder(a)
        table = position_sinusoids((a.context, a.width)) * _POSITION_SIZE
        self.audio_encoder.encoder.positional_embedding.copy_(torch.from_numpy(table))
        self.heads = nn.ModuleList(nn.Linear(a.width, len(_CURVES)) for _ in range(a.layers + 1))

    def forward(self, mel: Tensor) -> list[Tensor]:
        """(b, 80, 3000) to each state's reading, (b, 1500, 8)."""
        states = self.audio_encoder(mel)
        return [head(states[:, layer]) for layer, head in enumerate(self.heads)]


class ListeningBatches:
    """Segments of 30 s, as the pipeline feeds them.

    A segment holds clips laid end to end, or one clip and nothing after it.
    """

    def __init__(self, sounds: list[Sound], a: AudioArchitecture, *, device: torch.device) -> None:
        self._columns = 2 * a.context
        self._mels = [torch.from_numpy(sound.mel).to(device) for sound in sounds]
        self._targets = [torch.from_numpy(_at_rows(sound)).to(device) for sound in sounds]
        self._device = device

    def draw(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The mel (count, 80, columns), its targets, and which rows count.

        Targets are (count, rows, 8), what counts is (count, rows).
        """
        mel = torch.zeros(count, self._mels[0].shape[0], self._columns, device=self._device)
        target = torch.zeros(count, self._columns // 2, len(_CURVES), device=self._device)
        known = torch.zeros(count, self._columns // 2, device=self._device)
        picks = torch.randint(
            len(self._mels), (count, 12), generator=generator, device=self._device
        ).tolist()
        single = torch.rand(count, generator=generator, device=self._device).lt(0.4).tolist()
        for i, (choice, alone) in enumerate(zip(picks, single, strict=True)):
            column = 0
            for pick in choice[:1] if alone else choice:
                room = min(self._mels[pick].shape[1], self._columns - column) // 2 * 2
                if room < 2:
                    break
                rows = slice(column // 2, (column + room) // 2)
                mel[i, :, column : column + room] = self._mels[pick][:, :room]
                target[i, rows] = self._targets[pick][: room // 2]
                known[i, rows] = 1
                column += room
        return vary_voice(mel, known.repeat_interleave(2, dim=1), generator), target, known


def vary_voice(mel: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mels (b, 80, columns) as other throats, microphones and rooms would give them.

    Padding stays as it is.

    Bands are stretched by up to an eighth (vocal tract length perturbation, Jaitly and
    Hinton 2013), lifted and tilted, and in two of five segments laid over a steady
    noise of 28 to 80 dB below the peak. known (b, columns) is 1 where there is sound.
    """
    count, bands, _ = mel.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=mel.device)

    place = (torch.arange(bands, device=mel.device) * (0.88 + 0.26 * draw(count, 1))).clamp(
        max=bands - 1
    )
    low = place.floor().long().clamp(max=bands - 2)
    part = (place - low)[..., None]
    index = low[..., None].expand(-1, -1, mel.shape[2])
    warped = mel.gather(1, index) * (1 - part) + mel.gather(1, index + 1) * part
    slope = torch.linspace(-1, 1, bands, device=mel.device)[None, :, None]
    warped = warped + 0.3 * (draw(count, 1, 1) - 0.5) + 0.3 * (draw(count, 1, 1) - 0.5) * slope
    peak = torch.where(known[:, None] > 0, warped, warped.new_full((), -10.0)).amax(
        dim=(1, 2), keepdim=True
    )
    level = peak - _MEL_RANGE + 1.3 * draw(count, 1, 1) + 0.2 * (draw(count, bands, 1) - 0.5)
    noise = level + 0.15 * (draw(*mel.shape) - 0.5)
    decades = 4 * math.log(10)  # a log-mel is (log10 of power + 4) / 4
    noisy = torch.logaddexp(warped * decades, noise * decades) / decades
    warped = torch.where(draw(count, 1, 1) < 0.4, noisy, warped).maximum(peak - _MEL_RANGE)
    return torch.where(known[:, None] > 0, warped, mel)


def listening_objective(
    listener: Listener, batches: ListeningBatches, *, count: int, control: TrainingControl
) -> Objective:
    """The audio stage: weighted squared error of the curves, read from every state."""
    weights = torch.tensor(_CURVES, device=control.device)

    def loss(mel: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with control.autocast():
            readings = listener(mel)
        errors = [
            ((r.float() - target).square() * weights * known[..., None]).sum() / known.sum()
            for r in readings
        ]
        last = (readings[-1].float() - target).square()[..., 0]
        return errors[-1] + 0.3 * torch.stack(errors[:-1]).sum(), {
            "openness_mse": (last * known).sum() / known.sum()
        }

    return Objective(lambda generator: batches.draw(generator, count), loss)


@torch.no_grad()
def encode_sounds(
    encoder: AudioEncoder,
    sounds: list[Sound],
    *,
    control: TrainingControl,
    shifts: bool,
    varied: bool,
) -> list[Tensor]:
    """Each clip's features (rows, layers + 1, width), fp16 on the device.

    ``shifts`` lays the clips later in the segment, behind others, as in a long
    recording; without it each stands at the start, alone, as in a short one.
    ``varied``: heard as :func:`vary_voice` has it.
    """
    columns = 2 * encoder.encoder.positional_embedding.shape[0]
    features: list[Tensor] = []
    for i, sound in enumerate(sounds):
        control.report("voices heard", i, len(sounds))
        mel = torch.zeros(1, sound.mel.shape[0], columns, device=control.device)
        start = 0
        if shifts:
            before = sounds[(i * 7 + 3) % len(sounds)].mel
            start = min(before.shape[1], columns - sound.mel.shape[1]) // 2 * 2
            mel[0, :, :start] = torch.from_numpy(before[:, :start]).to(control.device)
        mel[0, :, start : start + sound.mel.shape[1]] = torch.from_numpy(sound.mel).to(
            control.device
        )
        if varied:
            known = torch.zeros(1, columns, device=control.device)
            known[:, : start + sound.mel.shape[1]] = 1
            mel = vary_voice(mel, known, control.generator("vary", 2 * i + int(shifts)))
        states = encoder(mel)[0, :, start // 2 : start // 2 + sound.rows]
        features.append(states.transpose(0, 1).to(torch.float16))
    return features


def _at_rows(sound: Sound) -> NDArray[np.float32]:
    """The curves at each row's time, row / 50 s."""
    index = np.arange(sound.rows) * (_STATE_HERTZ // ROWS_PER_SECOND)
    return sound.states[np.minimum(index, len(sound.states) - 1)]


def states_at(sound: Sound, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """The curves at ``times`` in seconds, between samples linearly: (len(times), 8)."""
    grid = np.arange(len(sound.states)) / _STATE_HERTZ
    columns = [np.interp(times, grid, sound.states[:, i]) for i in range(sound.states.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)
