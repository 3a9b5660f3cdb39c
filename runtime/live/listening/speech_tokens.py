"""Audio tokens of one frame at a time, from the seconds of sound that end with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_FRAME
from echoexport.runtime.contract.live_networks import LiveAudio, choose_rows
from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.listening.hearing import HEARD_COLUMNS
from echoexport.runtime.live.listening.mel_columns import QUIET

NetworkCall = Callable[[Mapping[str, NDArray[np.float32]]], dict[str, NDArray[np.float32]]]
"""A network: named arrays to named arrays."""


class SpeechTokens:
    """Encodes a frame's sound as a clip that ends where the frame's look-ahead does.

    An utterance's first frames so lie where a clip's would, and once more sound has come
    than the encoder takes, each frame lies at the last place. A frame's tokens depend on
    its own utterance's sound alone, not on blocks or chunks.
    """

    def __init__(self, encoder: NetworkCall, shape: LiveAudio) -> None:
        """``encoder``: the live one, or the clips', which costs ten times as much."""
        self._encoder = encoder
        self._shape = shape
        self._silence: NDArray[np.float32] | None = None

    def encode(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tokens (tokens, width) of log-mel (mels, columns), an odd number of them.

        The frame's rows are the last ten. Of more columns than the encoder takes the
        latest are heard. Token number = row * states + state, as a clip's.

        Raises:
            BackendError: the engine failed, or gave something else than numbers.
        """
        shape = self._shape
        heard = columns[:, -shape.heard :]
        if shape.fixed and heard.shape[1] < shape.heard:
            missing = shape.heard - heard.shape[1]
            heard = np.pad(heard, ((0, 0), (missing, 0)), constant_values=QUIET)
        padded = np.zeros((1, heard.shape[0], shape.columns), np.float32)
        padded[0, :, : heard.shape[1]] = heard
        rows = _list_rows(heard.shape[1] // 2)
        inputs = {"log_mel": padded}
        if shape.chooses:
            inputs["chosen_rows"] = choose_rows(rows, shape.columns // 2)
        states = self._encoder(inputs)["audio_states"][0].astype(np.float32, copy=False)
        if shape.fixed:
            states = states[:, -ROWS_PER_FRAME:]
        elif not shape.chooses:
            states = states[:, rows]
        if not np.isfinite(states).all():
            raise BackendError("the audio encoder gave NaN or infinite states")
        return np.ascontiguousarray(states.transpose(1, 0, 2)).reshape(-1, states.shape[2])

    def silence(self, mels: int) -> NDArray[np.float32]:
        """Tokens of a frame amid silence; computed once."""
        if self._silence is None:
            self._silence = self.encode(np.full((mels, HEARD_COLUMNS), QUIET, np.float32))
        return self._silence


def _list_rows(count: int) -> list[int]:
    """A frame's rows of ``count``, the last ten, where a clip's first stands for any before it."""
    return [max(row, 0) for row in range(count - ROWS_PER_FRAME, count)]
