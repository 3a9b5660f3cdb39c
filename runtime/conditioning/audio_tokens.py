"""From a log-mel spectrogram to the audio tokens of every video frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import AudioError, BackendError, SettingError
from echoexport.runtime.inputs.rates import Rate, exact_rate

__all__ = [
    "ROWS_PER_FRAME",
    "ROWS_PER_SECOND",
    "AudioTokens",
    "EncodeSegment",
    "FeatureRows",
    "count_rows",
    "encode_features",
    "encode_piece",
    "original_frame_count",
    "token_rows",
]

EncodeSegment = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""The audio encoder: (1, n_mels, 2 * context) -> (1, layers + 1, context, width), float32."""


ROWS_PER_SECOND = 50
"""One feature row for two mel columns of 10 ms: the encoder's second convolution has
stride 2."""

ROWS_PER_FRAME = 10
"""Each frame hears rows c-4 .. c+5 about its centre c: the original's ``audio_feat_length``
[2, 2] at 50 rows a second."""

_ROWS_BEFORE = 4


class FeatureRows(Protocol):
    """Features of a clip, rows of (layers + 1, width) float32, taken by their numbers.

    An array is one.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, layers + 1, width)."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def __getitem__(self, rows: NDArray[np.intp], /) -> NDArray[np.float32]:
        """Some rows, (*rows.shape, layers + 1, width)."""
        ...


def encode_features(
    mel: NDArray[np.float32], encode: EncodeSegment, *, context: int = 1500
) -> NDArray[np.float32]:
    """Encode a whole log-mel piece by piece.

    (n_mels, n) becomes (rows, layers + 1, width), 50 rows a second. Pieces of
    ``2 * context`` columns are encoded on their own, the last one padded with the value
    0.0 (as the original does; this is not silence). A piece of n columns gives its
    first n // 2 rows.

    Raises ``AudioError`` for a clip too short for one row, ``BackendError`` for an
    output of another shape.
    """
    rows = count_rows(mel.shape[1])
    parts = [
        encode_piece(mel[:, 2 * start : 2 * (start + context)], encode, context=context)
        for start in range(0, rows, context)
    ]
    return np.concatenate(parts)


def encode_piece(
    mel: NDArray[np.float32], encode: EncodeSegment, *, context: int
) -> NDArray[np.float32]:
    """Encode one piece of up to ``2 * context`` columns: (n // 2, layers + 1, width).

    Raises ``BackendError`` for an output of another shape.
    """
    padded = np.zeros((1, mel.shape[0], 2 * context), dtype=np.float32)
    padded[0, :, : mel.shape[1]] = mel
    encoded: NDArray[np.float32] = encode(padded)
    if encoded.ndim != 4 or encoded.shape[0] != 1 or encoded.shape[2] != context:
        raise BackendError(
            f"audio_encoder gave shape {encoded.shape}; (1, layers + 1, {context}, width) is wanted"
        )
    # a copy: engines may use their output's memory again
    rows: NDArray[np.float32] = np.swapaxes(encoded[0], 0, 1)[: mel.shape[1] // 2].copy()
    return rows


def count_rows(columns: int) -> int:
    """The rows of features that a log-mel of so many columns gives.

    Raises ``AudioError`` for a clip too short for one row.
    """
    if columns < 2:
        raise AudioError(
            f"{columns} mel columns give no row of audio features; two columns (20 ms) are needed"
        )
    return columns // 2


def token_rows(frame: int, fps: Rate, rows: int) -> list[int]:
    """A frame's ten feature rows.

    They are c-4 to c+5 with c = int(frame * 50 / fps), each within [0, rows - 1].
    """
    centre = int(frame * ROWS_PER_SECOND / fps)
    first = centre - _ROWS_BEFORE
    return [min(max(row, 0), rows - 1) for row in range(first, first + ROWS_PER_FRAME)]


def original_frame_count(rows: int, fps: Rate) -> int:
    """The original's number of frames: while int(i * (50 / fps)) <= rows, and one more.

    It is up to two frames more than the sound lasts; ``covering_frame_count`` is what a
    viewer wants.
    """
    step = ROWS_PER_SECOND / fps
    frame = 0
    while int(frame * step) <= rows:  # counted, not solved for: the original's rounding decides
        frame += 1
    return frame + 1


class AudioTokens:
    """A clip's audio tokens, gathered when asked for.

    ``features`` is (rows, layers + 1, width) from ``encode_features``, or gives rows as
    they are asked for; ``frames`` is how long the clip is. Frames beyond the clip hold
    its last frame's tokens, which is how a clip shorter than a window is padded.
    """

    def __init__(self, features: FeatureRows, fps: Rate, *, frames: int) -> None:
        exact_rate(fps)
        if len(features.shape) != 3 or not features.shape[0]:
            raise AudioError(
                f"audio features of shape {features.shape}: (rows, layers + 1, width), rows >= "
                "1, is wanted"
            )
        if frames < 1:
            raise SettingError(f"{frames} frames: a clip has at least 1")
        self.features = features
        self.fps = fps
        self.frames = frames

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame: ten rows of every layer, 50 for Whisper tiny."""
        return ROWS_PER_FRAME * int(self.features.shape[1])

    def window(self, indices: Iterable[int]) -> NDArray[np.float32]:
        """Tokens of some frames: (1, len(indices), 10 * (layers + 1), width) float32.

        Token number = row * (layers + 1) + layer. Raises ``SettingError`` for a
        negative index.
        """
        frames = [int(index) for index in indices]
        if any(frame < 0 for frame in frames):
            raise SettingError(f"frame {min(frames)}: frames count from 0")
        rows = [
            token_rows(min(frame, self.frames - 1), self.fps, len(self.features))
            for frame in frames
        ]
        gathered = self.features[np.array(rows, dtype=np.intp).reshape(-1, ROWS_PER_FRAME)]
        return gathered.reshape(1, len(frames), -1, gathered.shape[-1])
