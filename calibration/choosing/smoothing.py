"""SmoothQuant: how far outlier channels of an activation move into the weights behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.folding import (
    Foldable,
    FoldedGraph,
    apply_smoothing,
    find_foldable,
    fold_smoothing,
)
from echoexport.calibration.observing.ranges import ActivationRanges, SampleReader
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.observing.taps import tap_rows
from echoexport.calibration.plan import LEVELS, Smoothing
from echoexport.calibration.sample import Sample

__all__ = [
    "FoldedGraph",
    "SmoothingSettings",
    "apply_smoothing",
    "compute_factors",
    "find_foldable",
    "find_smoothing",
    "fold_smoothing",
]

# Of the largest channel: a channel that is hardly used would take its norm's gain out of
# fp16.
_SMALLEST = 1e-3


@dataclass(frozen=True)
class SmoothingSettings:
    """How factors are searched."""

    alphas: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Exponents that are tried on each activation."""
    rows: int = 32
    """Vectors of an activation that one sample gives."""
    most: int = 256
    """Vectors of an activation in all, from samples drawn evenly."""
    columns: int = 512
    """Output channels that errors are measured on, at most."""
    seed: int = 0
    """Of the samples that are drawn."""
    threads: int = 0
    """Threads of the engine, 0 for its own choice."""


def find_smoothing(
    graph: FloatGraph,
    ranges: ActivationRanges,
    *,
    samples: SampleReader | None = None,
    settings: SmoothingSettings | None = None,
) -> dict[str, Smoothing]:
    """The activations that int8 renders better once smoothed, by value name.

    Each has its best exponent. The error is that of the quantized product on vectors of
    real activations; without ``samples``, on random ones with the channels' maxima. All
    linears that read an activation share its factors.

    Raises:
        CalibrationError: a sample does not run.
        MissingPackageError, BackendError: no engine, or the engine does not take the
            graph.
    """
    settings = settings or SmoothingSettings()
    foldable = {
        value: entry for value, entry in find_foldable(graph).items() if value in ranges.activations
    }
    if samples is not None and foldable:
        rows = _collect_rows(graph, ranges, samples, values=tuple(foldable), settings=settings)
    else:
        rows = {value: _draw_rows(ranges.channel_amax(value), settings) for value in foldable}
    found = {}
    for value, entry in foldable.items():
        best = _search(
            graph, entry, rows[value], amax=ranges.channel_amax(value), settings=settings
        )
        if best is not None:
            found[value] = best
    return found


def compute_factors(
    channel_amax: NDArray[np.float32], weight_amax: NDArray[np.float32], *, alpha: float
) -> NDArray[np.float32]:
    """Factors by channel, s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), geometric mean 1.

    Formula: Xiao et al., "SmoothQuant", 2022, equation 4. Both maxima are per input
    channel. The mean changes nothing in int8 and keeps constants where fp16 has them.
    """
    x = np.maximum(channel_amax, max(float(channel_amax.max()) * _SMALLEST, 1e-30)).astype(
        np.float64
    )
    w = np.maximum(weight_amax, max(float(weight_amax.max()) * _SMALLEST, 1e-30)).astype(np.float64)
    exponents = alpha * np.log(x) - (1 - alpha) * np.log(w)
    factors: NDArray[np.float32] = np.exp(exponents - exponents.mean()).astype(np.float32)
    return factors


def measure_error(rows: NDArray[np.float32], weight: NDArray[np.float32], *, amax: float) -> float:
    """Energy of the error of int8's product rows @ weight over that of the product.

    Each output channel of the weight has a scale of its own.
    """
    step = amax / LEVELS
    scales = np.maximum(np.abs(weight).max(axis=0) / LEVELS, 1e-30)
    quantized_rows = np.clip(np.rint(rows / step), -LEVELS, LEVELS) * step
    quantized_weight = np.rint(weight / scales) * scales
    wanted = rows @ weight
    error = np.square(quantized_rows @ quantized_weight - wanted, dtype=np.float64).sum()
    return float(error / max(np.square(wanted, dtype=np.float64).sum(), 1e-30))


def _search(
    graph: FloatGraph,
    entry: Foldable,
    rows: NDArray[np.float32],
    *,
    amax: NDArray[np.float32],
    settings: SmoothingSettings,
) -> Smoothing | None:
    """The best exponent's factors.

    None where the activation is best left alone, or is zero throughout.
    """
    if amax.max() <= 0:
        return None
    weights = [
        np.asarray(graph.read(graph.layers[name].weight), np.float32) for name in entry.layers
    ]
    weight_amax = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    every = max(1, -(-sum(weight.shape[1] for weight in weights) // settings.columns))
    sample = np.concatenate([weight[:, ::every] for weight in weights], axis=1)
    best = None
    least = measure_error(rows, sample, amax=float(amax.max()))
    for alpha in settings.alphas:
        factors = compute_factors(amax, weight_amax, alpha=alpha)
        error = measure_error(
            rows / factors, sample * factors[:, None], amax=float((amax / factors).max())
        )
        if error < least:
            best = Smoothing(alpha, tuple(map(float, factors)))
            least = error
    return best


def _collect_rows(
    graph: FloatGraph,
    ranges: ActivationRanges,
    samples: SampleReader,
    *,
    values: tuple[str, ...],
    settings: SmoothingSettings,
) -> dict[str, NDArray[np.float32]]:
    """Vectors (n, channels) of each activation, from samples drawn evenly from all."""
    taps = [tap_rows(ranges.activations[value], most=settings.rows) for value in values]
    network = TappedNetwork(graph, taps, threads=settings.threads)
    blocks: dict[int, Mapping[str, NDArray[np.float32]]] = {}
    for place, sample in _draw_samples(samples(), settings):
        blocks[place] = network(sample.inputs)
    return {
        value: np.concatenate([block[f"{value}.rows"] for block in blocks.values()])
        for value in values
    }


def _draw_samples(
    samples: Iterable[Sample], settings: SmoothingSettings
) -> Iterator[tuple[int, Sample]]:
    """A reservoir: places from 0 and the sample to put there.

    A later sample takes an earlier one's place (Vitter, algorithm R).
    """
    size = max(1, settings.most // settings.rows)
    random = np.random.default_rng(settings.seed)
    for index, sample in enumerate(samples):
        place = index if index < size else int(random.integers(index + 1))
        if place < size:
            yield place, sample


def _draw_rows(amax: NDArray[np.float32], settings: SmoothingSettings) -> NDArray[np.float32]:
    """Normally distributed vectors; ``amax`` is four standard deviations of each channel."""
    random = np.random.default_rng(settings.seed).standard_normal(
        (settings.most, len(amax)), dtype=np.float32
    )
    return np.clip(random / 4, -1, 1).astype(np.float32) * amax
