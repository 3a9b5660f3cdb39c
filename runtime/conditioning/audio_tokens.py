"""From a log-mel spectrogram to the audio tokens of every video frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import AudioError, BackendError, SettingError
from echoexport.runtime.inputs.rates import Rate, exact_rate

__all__ = [
    "ROWS_PER_FRAME",
    "ROWS_PER_SECOND",
    "AudioTokens",
    "EncodeSegment",
    "encode_features",
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
    pieces = [mel[:, start : start + 2 * context] for start in range(0, mel.shape[1], 2 * context)]
    counts = [piece.shape[1] // 2 for piece in pieces]
    if not sum(counts):
        raise AudioError(
            f"{mel.shape[1]} mel columns give no row of audio features; two columns (20 ms) "
            "are needed"
        )
    features = np.empty((0, 0, 0), dtype=np.float32)
    filled = 0
    for piece, count in zip(pieces, counts, strict=True):
        if not count:  # one column left over
            continue
        encoded = _encode_piece(piece, encode, context=context)
        if not filled:  # the encoder says how many layers, and how wide
            features = np.empty((sum(counts), *encoded.shape[1:]), dtype=np.float32)
        features[filled : filled + count] = encoded[:count]
        filled += count
    return features


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

    ``features`` is (rows, layers + 1, width) from ``encode_features``; ``frames`` is
    how long the clip is. Frames beyond the clip hold its last frame's tokens, which is
    how a clip shorter than a window is padded.
    """

    def __init__(self, features: NDArray[np.float32], fps: Rate, *, frames: int) -> None:
        exact_rate(fps)
        if features.ndim != 3 or not features.shape[0]:
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
        return gathered.reshape(1, len(frames), self.tokens_per_frame, self.features.shape[2])


def _encode_piece(
    piece: NDArray[np.float32], encode: EncodeSegment, *, context: int
) -> NDArray[np.float32]:
    """Encode one padded piece: (context, layers + 1, width)."""
    padded = np.zeros((1, piece.shape[0], 2 * context), dtype=np.float32)
    padded[0, :, : piece.shape[1]] = piece
    encoded: NDArray[np.float32] = encode(padded)
    if encoded.ndim != 4 or encoded.shape[0] != 1 or encoded.shape[2] != context:
        raise BackendError(
            f"audio_encoder gave shape {encoded.shape}; (1, layers + 1, {context}, width) is wanted"
        )
    return np.swapaxes(encoded[0], 0, 1)
