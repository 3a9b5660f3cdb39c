"""From a voice to the audio encoder's features, encoded as frames need them."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning.audio_tokens import (
    ROWS_PER_SECOND,
    count_rows,
    encode_piece,
    token_rows,
)
from echoexport.runtime.conditioning.mel import HOP, N_FFT, LogMel
from echoexport.runtime.inputs.voice import SAMPLE_RATE, Voice

_MARGIN = Fraction(1, 2)  # seconds: a resampler knows nothing beyond what it is given
_KEPT_BYTES = 64 * 2**20
"""Of features that may be encoded again: two and a half minutes of Whisper tiny's. A
sampling of 30 steps at 24 fps uses what lies up to 15 s apart."""


class VoiceFeatures:
    """A voice's features, 50 rows a second, each piece encoded when a frame first needs it.

    Rows are taken by an array of their numbers, as from an array (rows, states, width).
    Several threads may take them.
    """

    def __init__(
        self, networks: Lease, voice: Voice, *, columns: int | None = None, keep: bool = True
    ) -> None:
        """``columns``: see :func:`encode_voice`.

        ``keep`` keeps all that was encoded. Else the latest used remain, and what is
        needed once more after a while is encoded again.

        Raises:
            AudioError: a voice too short for one row.
        """
        audio = networks.manifest.audio
        self._networks = networks
        self._context = audio.context
        self._keep = keep
        count = len(voice) if columns is None else min(len(voice), _last_sample(columns))
        with networks.tracer.span("log-mel", "audio"):
            self._mel = LogMel(voice.cut, count, n_mels=audio.mels)
            self._mel.peak  # noqa: B018 - found now, as all else needs it
        self._columns = self._mel.columns if columns is None else min(self._mel.columns, columns)
        self._rows = count_rows(self._columns)
        self._pieces: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._rows

    @property
    def pieces(self) -> int:
        """How many calls of the encoder all of it takes."""
        return -(-self._rows // self._context)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(rows, states, width); the first piece says what the last two are."""
        with self._lock:
            return (self._rows, *self._find_piece(0).shape[1:])

    def encode_all(self) -> None:
        """Encode what is not yet, all of it in its order."""
        for number in range(self.pieces):
            with self._lock:
                self._find_piece(number)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The features of some rows: (*rows.shape, states, width) float32."""
        with self._lock:
            numbers = rows // self._context
            # by a set: np.unique brings numpy.ma in, 20 ms of a start
            known = sorted(set(numbers.ravel().tolist()))
            wanted = {number: self._find_piece(number) for number in known}
        found = np.empty((*rows.shape, *self.shape[1:]), np.float32)
        for number, piece in wanted.items():
            here = numbers == number
            found[here] = piece[rows[here] - number * self._context]
        return found

    def _find_piece(self, number: int) -> NDArray[np.float32]:
        if number not in self._pieces:
            self._pieces[number] = self._encode(number)
        self._pieces.move_to_end(number)
        piece = self._pieces[number]
        # two of them, as a frame may stand between
        most = max(2, _KEPT_BYTES // piece.nbytes)
        if not self._keep and len(self._pieces) > most:
            self._pieces.popitem(last=False)
        return piece

    def _encode(self, number: int) -> NDArray[np.float32]:
        """One piece's rows, (rows, states, width)."""
        start = number * 2 * self._context
        with self._networks.tracer.span("log-mel", "audio"):
            mel = self._mel.cut(start, min(start + 2 * self._context, self._columns))
        if number == self.pieces - 1:
            self._mel.forget()
        with self._networks.tracer.span("voice features", "audio"):
            return encode_piece(mel, self._call, context=self._context)

    def _call(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        states = self._networks.network("audio_encoder")({"log_mel": segment})["audio_states"]
        return states.astype(np.float32, copy=False)


def encode_voice(
    networks: Lease, voice: Voice, *, columns: int | None = None
) -> NDArray[np.float32]:
    """A voice's features, (rows, states, width) float32, 50 rows a second, all at once.

    ``columns`` is how many mel columns are heard, from ``count_columns``; None hears all.
    """
    features = VoiceFeatures(networks, voice, columns=columns)
    return features[np.arange(len(features))]


def count_columns(frames: int, fps: Fraction, *, context: int) -> int:
    """Mel columns of all the whole pieces that the first frames hear anything of."""
    last_row = token_rows(frames - 1, fps, math.ceil(frames * ROWS_PER_SECOND / fps) + 10)[-1]
    return math.ceil((last_row + 1) / context) * 2 * context


def measure_hearing(columns: int) -> Fraction:
    """Seconds of a voice that so many mel columns need."""
    return Fraction(_last_sample(columns), SAMPLE_RATE) + _MARGIN


def _last_sample(columns: int) -> int:
    return columns * HOP + N_FFT // 2
