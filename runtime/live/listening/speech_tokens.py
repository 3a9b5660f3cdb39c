"""Audio tokens of one frame at a time, from the three seconds of sound that end with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_FRAME
from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.listening.hearing import HEARD_COLUMNS
from echoexport.runtime.live.listening.mel_columns import QUIET

NetworkCall = Callable[[Mapping[str, NDArray[np.float32]]], dict[str, NDArray[np.float32]]]
"""A network: named arrays to named arrays."""


class SpeechTokens:
    """Encodes the mel columns about one frame, always at the same place of the position table.

    So a frame's tokens depend on its sound alone, not on blocks, chunks or the past
    beyond three seconds.
    """

    def __init__(self, encoder: NetworkCall, *, columns: int) -> None:
        """``encoder``: ``audio_encoder_live``, or the clips' encoder, which costs ten times
        as much; ``columns`` is how many it takes. One that takes fewer than
        ``HEARD_COLUMNS`` hears the latest."""
        self._encoder = encoder
        self._columns = columns
        # Odd, so that an even column stays one: rows are centred on those.
        self._heard = min(HEARD_COLUMNS, columns - 1 + columns % 2)
        self._silence: NDArray[np.float32] | None = None

    def encode(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tokens (tokens, width) of (mels, ``HEARD_COLUMNS``) log-mel.

        Token number = row * states + state, as a clip's.

        Raises:
            BackendError: the engine failed, or gave something else than numbers.
        """
        padded = np.zeros((1, columns.shape[0], self._columns), np.float32)
        padded[0, :, : self._heard] = columns[:, HEARD_COLUMNS - self._heard :]
        states = self._encoder({"log_mel": padded})["audio_states"].astype(np.float32, copy=False)
        last = min(self._heard // 2, states.shape[2])
        rows = states[0, :, last - ROWS_PER_FRAME : last]
        if not np.isfinite(rows).all():
            raise BackendError("the audio encoder gave NaN or infinite states")
        return np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(-1, rows.shape[2])

    def silence(self, mels: int) -> NDArray[np.float32]:
        """Tokens of a frame amid silence; computed once."""
        if self._silence is None:
            self._silence = self.encode(np.full((mels, HEARD_COLUMNS), QUIET, np.float32))
        return self._silence
