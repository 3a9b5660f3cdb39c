"""Ranges of what a network's layers read, over a calibration set.

Memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.histograms import BINS, find_threshold
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.observing.taps import (
    Activation,
    Tap,
    find_activations,
    tap_histogram,
    tap_maxima,
)
from echoexport.calibration.plan import Smoothing
from echoexport.calibration.progress import NO_PROGRESS, ProgressFolder
from echoexport.calibration.sample import Sample
from echoexport.runtime.errors import CalibrationError, SettingError
from echoexport.runtime.progress import Progress

METHODS = ("minmax", "percentile", "entropy", "mse")
COMBINATIONS = ("max", "mean", "min_first")

_KEPT = "maxima"  # the name of what a pass has found so far
_SMALLEST = 1e-30  # a range below is as good as 0, and a bin of it not a float32 any more

SampleReader = Callable[[], Iterable[Sample]]
"""Gives a calibration set's samples from the first, each time it is called."""

Maxima = dict[str, dict[int, NDArray[np.float32]]]
"""By value name and timestep bin: (channels,)."""


@dataclass(frozen=True)
class RangeSettings:
    """How ranges are found."""

    method: str = "minmax"
    """Either "minmax", "percentile" (of absolute values, ``percentile`` %), "entropy"
    or "mse"."""
    percentile: float = 99.99
    combine: str = "max"
    """How one range comes from those of the timestep bins: their "max", their "mean",
    or "min_first". That is NVIDIA's recipe for Stable Diffusion: what a convolution
    reads takes the smallest of the first ``first`` (share) of the denoising steps, the
    rest the largest of all."""
    first: float = 0.5
    values: Sequence[str] | None = None
    """Which values of the graph; None for all that layers read."""
    bins: int = 10
    """Timestep bins at most; one a step where there are no more steps."""
    most: int = 2**20
    """Values of one activation that a sample adds to a histogram."""
    threads: int = 0
    """Threads of the engine, 0 for its own choice."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            SettingError: names the field, its value and what is known.
        """
        if self.method not in METHODS:
            raise SettingError(f"ranges: method {self.method!r}; known: {', '.join(METHODS)}")
        if self.combine not in COMBINATIONS:
            raise SettingError(
                f"ranges: combine {self.combine!r}; known: {', '.join(COMBINATIONS)}"
            )
        if not 0 < self.percentile <= 100:
            raise SettingError(
                f"ranges: percentile {self.percentile}; above 0 and at most 100 is wanted"
            )
        if not 0 < self.first <= 1:
            raise SettingError(
                f"ranges: first {self.first}; a share above 0 and at most 1 is wanted"
            )
        if self.bins < 1 or self.most < 1:
            raise SettingError(
                f"ranges: bins {self.bins}, most {self.most}; both must be 1 or more"
            )


@dataclass(frozen=True, eq=False)
class ActivationRanges:
    """What the samples showed, per activation."""

    settings: RangeSettings
    activations: Mapping[str, Activation]
    """By value name."""
    steps: tuple[int, ...]
    """The timestep bins that had samples, in the order of the denoising steps."""
    channel_maxima: Mapping[str, NDArray[np.float32]]
    """Largest absolute values, (bins, channels)."""
    per_step: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """The range of each bin, (bins,): its maximum, or the method's threshold."""

    def amax(self, value: str) -> float:
        """The symmetric range [-amax, amax] for int8.

        It is above 0, and 1 for an activation that was zero throughout.
        """
        found = self.per_step[value]
        conv = self.activations[value].axis == 1 and len(self.activations[value].shape) > 2
        if self.settings.combine == "mean":
            combined = float(found.mean())
        elif self.settings.combine == "min_first" and conv:
            combined = float(found[: max(1, round(len(found) * self.settings.first))].min())
        else:
            combined = float(found.max())
        # a bin in which all was zero says nothing; any scale suits an activation that
        # always is
        return combined if combined > 0 else float(found.max()) or 1.0

    def channel_amax(self, value: str) -> NDArray[np.float32]:
        """Largest absolute value of each channel.

        Channels are the last axis of what a MatMul reads, axis 1 of what a Conv reads.
        """
        found: NDArray[np.float32] = self.channel_maxima[value].max(axis=0)
        return found

    def combined(self, combine: str) -> ActivationRanges:
        """The same ranges, combined in another way."""
        return replace(self, settings=replace(self.settings, combine=combine))

    def smoothed(self, smoothing: Mapping[str, Smoothing]) -> ActivationRanges:
        """Maxima after the division by ``smoothing``'s factors: exact, without another pass.

        The method is "minmax" then.
        """
        maxima = dict(self.channel_maxima)
        for value, entry in smoothing.items():
            if value in maxima:
                maxima[value] = np.divide(
                    maxima[value], np.asarray(entry.factors, np.float32), dtype=np.float32
                )
        per_step = {value: found.max(axis=1) for value, found in maxima.items()}
        return ActivationRanges(
            replace(self.settings, method="minmax"), self.activations, self.steps, maxima, per_step
        )


def collect_ranges(
    graph: FloatGraph,
    samples: SampleReader,
    *,
    settings: RangeSettings,
    maxima: ActivationRanges | None = None,
    smoothing: Mapping[str, Smoothing] | None = None,
    report: Progress | None = None,
    progress: ProgressFolder = NO_PROGRESS,
) -> ActivationRanges:
    """Run the network on every sample and keep the ranges of what its layers read.

    One pass gives maxima, one more histograms. ``maxima`` of an earlier call on the
    same samples, not smoothed, spare the first pass. With ``smoothing``, ranges are
    those of the activations divided by its factors. ``progress`` keeps the maxima after
    each sample: another call with the same graph, samples and settings goes on behind
    the last one.

    Raises:
        CalibrationError: no samples, a sample that does not run, an activation that is
            not finite.
        MissingPackageError, BackendError: no engine, or the engine does not take the
            graph.
    """
    settings = (
        settings if settings.values is None else replace(settings, values=tuple(settings.values))
    )
    report = report or (lambda what, done, total: None)
    if maxima is None:
        maxima = _collect_maxima(
            graph, samples, settings=settings, report=report, progress=progress
        )
    found = maxima.smoothed(smoothing or {})
    taps = list(_make_histogram_taps(found, settings, smoothing or {}))
    if not taps:
        return replace(found, settings=settings)
    network = TappedNetwork(graph, taps, threads=settings.threads)
    counts = _collect_histograms(
        network, _walk(graph, samples, what="histograms", report=report), found=found
    )
    per_step = {value: _find_thresholds(found, value, counts[value], settings) for value in counts}
    return replace(found, settings=settings, per_step=per_step)


def _collect_maxima(
    graph: FloatGraph,
    samples: SampleReader,
    *,
    settings: RangeSettings,
    report: Progress,
    progress: ProgressFolder,
) -> ActivationRanges:
    activations = find_activations(graph, settings.values)
    taps = [tap_maxima(one) for one in activations.values()]
    network = TappedNetwork(graph, taps, threads=settings.threads)
    behind, found = _read_maxima(progress, activations)
    for index, sample in enumerate(_walk(graph, samples, what="ranges", report=report)):
        if index < behind:
            continue
        outputs = network(sample.inputs)
        place = _find_bin(sample, settings.bins)
        for value, activation in activations.items():
            channels = outputs[f"{value}.maxima"]
            values = np.append(channels, outputs[f"{value}.sum"])
            _require_finite(graph.name, activation, sample, found=values)
            seen = found[value]
            seen[place] = np.maximum(seen[place], channels) if place in seen else channels
        _write_maxima(progress, found, behind=index + 1)
    return _stack_maxima(graph, activations, found, settings=settings)


def _stack_maxima(
    graph: FloatGraph,
    activations: Mapping[str, Activation],
    found: Maxima,
    *,
    settings: RangeSettings,
) -> ActivationRanges:
    steps = tuple(sorted({place for seen in found.values() for place in seen}))
    if not steps:
        raise CalibrationError(
            f"{graph.name}: the calibration set holds no samples of it; record the set again"
        )
    maxima = {value: np.stack([seen[place] for place in steps]) for value, seen in found.items()}
    per_step = {value: entry.max(axis=1) for value, entry in maxima.items()}
    return ActivationRanges(
        replace(settings, method="minmax"), activations, steps, maxima, per_step
    )


def _write_maxima(progress: ProgressFolder, found: Maxima, *, behind: int) -> None:
    """Keep them: a row for each bin, the channels of all values in a line."""
    places = sorted({place for seen in found.values() for place in seen})
    rows = {
        f"bin.{place}": np.concatenate([seen[place] for seen in found.values()]) for place in places
    }
    progress.write_arrays(
        _KEPT, {"behind": np.array(behind), "values": np.array(list(found)), **rows}
    )


def _read_maxima(
    progress: ProgressFolder, activations: Mapping[str, Activation]
) -> tuple[int, Maxima]:
    """How many samples are behind, and what they showed.

    Maxima of other activations count for nothing.
    """
    found: Maxima = {value: {} for value in activations}
    kept = progress.read_arrays(_KEPT)
    if kept is None or kept.pop("values").tolist() != list(activations):
        return 0, found
    behind = int(kept.pop("behind"))
    edges = np.cumsum([one.channels for one in activations.values()])[:-1]
    for name, row in kept.items():
        for value, channels in zip(activations, np.split(row, edges), strict=True):
            found[value][int(name.removeprefix("bin."))] = channels
    return behind, found


def _collect_histograms(
    network: TappedNetwork, samples: Iterable[Sample], *, found: ActivationRanges
) -> dict[str, NDArray[np.uint32]]:
    """Counts (timestep bins, BINS) of each activation; all 0 for one that has no histogram."""
    counts = {value: np.zeros((len(found.steps), BINS), np.uint32) for value in found.activations}
    for sample in samples:
        outputs = network(sample.inputs)
        place = found.steps.index(_find_bin(sample, found.settings.bins))
        for value, entry in counts.items():
            if f"{value}.histogram" in outputs:
                entry[place] += outputs[f"{value}.histogram"].astype(np.uint32)
    return counts


def _make_histogram_taps(
    found: ActivationRanges, settings: RangeSettings, smoothing: Mapping[str, Smoothing]
) -> Iterator[Tap]:
    """None for "minmax", which needs no histogram, nor for what is zero throughout."""
    if settings.method == "minmax":
        return
    for value, activation in found.activations.items():
        amax = float(found.channel_maxima[value].max())
        if amax > _SMALLEST:
            factors = (
                np.asarray(smoothing[value].factors, np.float32) if value in smoothing else None
            )
            yield tap_histogram(
                activation, amax=amax, bins=BINS, most=settings.most, factors=factors
            )


def _find_thresholds(
    found: ActivationRanges, value: str, counts: NDArray[np.uint32], settings: RangeSettings
) -> NDArray[np.float32]:
    """One for each timestep bin, at most its own maximum."""
    amax = float(found.channel_maxima[value].max())
    thresholds = [
        min(
            find_threshold(row, amax, method=settings.method, percentile=settings.percentile),
            float(highest),
        )
        for row, highest in zip(counts, found.channel_maxima[value].max(axis=1), strict=True)
    ]
    return np.asarray(thresholds, np.float32)


def _walk(
    graph: FloatGraph, samples: SampleReader, *, what: str, report: Progress
) -> Iterator[Sample]:
    given = samples()
    total = len(given) if isinstance(given, Sequence) else 0
    report(f"{graph.name}: {what}", 0, total)
    for done, sample in enumerate(given, start=1):
        yield sample
        report(f"{graph.name}: {what}", done, total)


def _find_bin(sample: Sample, bins: int) -> int:
    """The timestep bin of a sample: its step, or several steps together.

    It is 0 outside the sampling loop.
    """
    if sample.step is None:
        return 0
    return sample.step if (sample.steps or 0) <= bins else sample.step * bins // (sample.steps or 1)


def _require_finite(
    network: str, activation: Activation, sample: Sample, *, found: NDArray[np.float32]
) -> None:
    if np.isfinite(found).all():
        return
    reader = f"layer {activation.layers[0]}" if activation.layers else "a node"
    when = f"timestep {sample.timestep}" if sample.timestep is not None else "its only step"
    raise CalibrationError(
        f"{network}: {reader} reads {activation.value!r}, which is not finite at {when}, portrait "
        f"{sample.portrait}, voice {sample.voice}: the checkpoint or this sample is broken"
    )
