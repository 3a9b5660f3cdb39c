"""How a face moves while it speaks: a timeline of sounds to the eight curves of a face's state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.export.demo.speech.visemes import REST, Viseme, read_visemes
from echoexport.runtime.errors import SettingError

__all__ = ["COLUMNS", "Phone", "Timeline", "animate"]

_Curve = NDArray[np.float64]

COLUMNS = ("openness", "width", "rounding", "lids", "brows", "nod", "sway", "tilt")
"""The order of ``animate``'s columns: that of the face's state."""

_RATE = 200  # points a second that the curves are worked out at
_MARGIN = 0.6  # seconds around the timeline after which every curve is back at rest
_MOUTH_KERNEL = 0.13  # full width of the Hann window that blends mouths: 65 ms at half height
_HEAD_KERNEL = 0.6  # of the one for head and brows: 0.3 s at half height
_RAMP = 0.06  # seconds in which lips close for, and open from, a closure
# Seconds that a plosive's silence lasts before its burst, which is what espeak-ng
# reports.
_CLOSURE = 0.05
_SHORTEST_PAUSE = 0.25  # seconds of silence that end a phrase
_BLINK_DELAY = 0.03
_BLINK_SECONDS = 0.2
# From short to long vowels; the long ones, mostly stressed, raise the brows.
_VOWEL_SECONDS = (
    0.05,
    0.17,
)
_NOD_GAIN = 1.5
_BROW_GAIN = 1.5
_BROW_BASE = 0.25


@dataclass(frozen=True)
class Phone:
    """One sound: its name (IPA or espeak-ng's), and when it starts and ends, in seconds."""

    name: str
    start: float
    end: float


Timeline = tuple[Phone, ...]
"""Sounds in order, none overlapping; where there is none it is silent."""


@dataclass(frozen=True)
class _Piece:
    """A stretch of time with one target mouth."""

    viseme: Viseme
    start: float
    end: float


def animate(timeline: Timeline, times: ArrayLike) -> NDArray[np.float32]:
    """The face at each time (n,) in seconds: (n, 8) float32, columns as in ``COLUMNS``.

    Targets of neighbouring sounds are blended with a symmetric window, each by its
    firmness; lips meet for every p, b and m; the mouth is shut from 65 ms after a sound
    on. Head and brows follow the speech of the 0.3 s around, and a blink starts right
    after each phrase that at least 0.25 s of silence follow. Sway and tilt stay 0.

    Raises ``SettingError`` for a timeline out of order, and for times that are not
    finite or not one-dimensional.
    """
    wanted = np.asarray(times, dtype=np.float64)
    if wanted.ndim != 1 or not np.isfinite(wanted).all():
        raise SettingError(f"times of shape {wanted.shape}: finite seconds, shape (n,), are wanted")
    _check_timeline(timeline)
    state = np.zeros((wanted.size, len(COLUMNS)), dtype=np.float32)
    if not timeline:
        return state
    pieces = _cut_pieces(timeline)
    start = timeline[0].start - _MARGIN
    stop = timeline[-1].end + _MARGIN
    grid = start + np.arange(int(np.ceil((stop - start) * _RATE)) + 1) / _RATE
    curves = _blend_mouths(pieces, grid)
    curves[0] *= 1.0 - _close_lips(pieces, grid)
    columns = [*curves, _blink(timeline, grid), *_move_head(pieces, grid)]  # sway and tilt: 0
    for index, curve in enumerate(columns):
        state[:, index] = np.interp(wanted, grid, curve, left=0.0, right=0.0)
    return state


def _check_timeline(timeline: Timeline) -> None:
    last = -np.inf
    for phone in timeline:
        if not (np.isfinite(phone.end) and last <= phone.start < phone.end):
            raise SettingError(
                f"sound {phone.name!r} at {phone.start} s to {phone.end} s: sounds need order "
                "and length"
            )
        last = phone.end


def _cut_pieces(timeline: Timeline) -> list[_Piece]:
    """One piece per viseme: a diphthong's or an affricate's share the time of their sound."""
    pieces: list[_Piece] = []
    for phone in timeline:
        visemes = read_visemes(phone.name)
        shares = np.cumsum([0.0, *(one.share for one in visemes)])
        edges = phone.start + (phone.end - phone.start) * shares / shares[-1]
        if visemes[0].plosive:
            edges[0] = _start_closure(phone, pieces)
        pieces += [
            _Piece(one, float(edges[i]), float(edges[i + 1])) for i, one in enumerate(visemes)
        ]
    return pieces


def _start_closure(phone: Phone, pieces: list[_Piece]) -> float:
    """When a plosive's mouth starts: before its burst.

    It takes up to half of the sound before.
    """
    start = phone.start - _CLOSURE
    if pieces and pieces[-1].end > start:
        before = pieces[-1]
        start = max(start, (before.start + before.end) / 2)
        pieces[-1] = _Piece(before.viseme, before.start, min(before.end, start))
    return start


def _blend_mouths(pieces: list[_Piece], grid: _Curve) -> list[_Curve]:
    """Openness, width and rounding (k,): targets weighted by firmness, blended over the window."""
    targets = np.zeros((3, grid.size))
    firmness = np.full((3, grid.size), REST.opening)
    for piece in pieces:
        viseme = piece.viseme
        part = _find_part(piece, grid)
        targets[:, part] = np.array([[viseme.openness], [viseme.width], [viseme.rounding]])
        firmness[:, part] = np.array([[viseme.opening], [viseme.shaping], [viseme.shaping]])
    over = targets * firmness
    under = firmness
    return [
        _smooth(a, _MOUTH_KERNEL) / _smooth(b, _MOUTH_KERNEL)
        for a, b in zip(over, under, strict=True)
    ]


def _close_lips(pieces: list[_Piece], grid: _Curve) -> _Curve:
    """(k,) in [0, 1]: 1 while lips must be shut, with soft ramps beside."""
    closed = np.zeros(grid.size)
    for piece in pieces:
        if not piece.viseme.lips:
            continue
        start = piece.start
        end = min(piece.end, start + _CLOSURE) if piece.viseme.plosive else piece.end
        away = np.maximum(np.maximum(start - grid, grid - end), 0.0)
        closed = np.maximum(closed, 0.5 + 0.5 * np.cos(np.pi * np.minimum(away / _RAMP, 1.0)))
    return closed


def _move_head(pieces: list[_Piece], grid: _Curve) -> tuple[_Curve, _Curve]:
    """Brows and nod (k,), in [0, 1).

    Speech and long vowels raise the brows; open vowels lower the head.
    """
    nod = np.zeros(grid.size)
    brows = np.zeros(grid.size)
    short, long = _VOWEL_SECONDS
    for piece in pieces:
        part = _find_part(piece, grid)
        brows[part] = _BROW_BASE
        if piece.viseme.vowel:
            nod[part] = piece.viseme.openness
            brows[part] += np.clip((piece.end - piece.start - short) / (long - short), 0.0, 1.0)
    return np.tanh(_BROW_GAIN * _smooth(brows, _HEAD_KERNEL)), np.tanh(
        _NOD_GAIN * _smooth(nod, _HEAD_KERNEL)
    )


def _blink(timeline: Timeline, grid: _Curve) -> _Curve:
    """Lids (k,): one raised cosine after each phrase.

    The silence after the last sound ends one too.
    """
    lids = np.zeros(grid.size)
    following = [phone.start for phone in timeline[1:]] + [np.inf]
    for phone, start in zip(timeline, following, strict=True):
        if start - phone.end >= _SHORTEST_PAUSE:
            phase = (grid - phone.end - _BLINK_DELAY) / _BLINK_SECONDS
            inside = (phase > 0) & (phase < 1)
            lids[inside] = 0.5 - 0.5 * np.cos(2 * np.pi * phase[inside])
    return lids


def _find_part(piece: _Piece, grid: _Curve) -> slice:
    """The grid's points within a piece; at least one, so that no sound is too short to be seen."""
    first, last = np.searchsorted(grid, (piece.start, piece.end))
    return slice(int(first), max(int(last), int(first) + 1))


def _smooth(curve: _Curve, seconds: float) -> _Curve:
    """Weighted mean under a Hann window of that full width.

    What lies beyond the ends repeats them.
    """
    half = round(seconds * _RATE / 2)
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(-half + 1, half) / half)
    return np.convolve(np.pad(curve, half - 1, mode="edge"), window / window.sum(), mode="valid")
