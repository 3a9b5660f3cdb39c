"""Sensors over time: a thread reads them while something runs, and readings add up."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType

from echoexport.profiles.measuring.sensors import NOT_AVAILABLE, Sensor, find_sensors

__all__ = ["Reading", "SensorLog", "SensorReport", "Series"]

_POINTS = 240  # of a series that is kept
_SLOW = 1.0  # seconds between readings that start a process


@dataclass(frozen=True)
class Series:
    """One sensor over time."""

    name: str
    kind: str
    unit: str
    source: str
    times: tuple[float, ...]
    """Seconds from the beginning."""
    values: tuple[float, ...]
    """A counter's are what it counted since then."""


@dataclass(frozen=True)
class Reading:
    """One figure from sensors."""

    value: float | None
    """None where there is none."""
    unit: str
    note: str
    """How the value was got, or why there is none."""


@dataclass(frozen=True)
class SensorReport:
    """What sensors gave in ``seconds``."""

    seconds: float
    energy: Reading
    """J of all that the device shows."""
    power: Reading
    """Mean W."""
    throttling: Reading
    """Events, or samples in which a GPU was slowed down."""
    peak_memory: Reading
    """Bytes of this process, the largest."""
    steady_memory: Reading
    """Bytes of this process, the median."""
    device_memory: Reading
    """Bytes in use on a GPU's own memory at most, by all processes."""
    series: tuple[Series, ...]

    def of_kind(self, kind: str) -> tuple[Series, ...]:
        """Series of one kind, e.g. "temperature"."""
        return tuple(series for series in self.series if series.kind == kind)


class SensorLog:
    """A context manager within which a thread reads sensors every ``interval`` seconds.

    ``report`` after it gives what was read. One reading is taken at the beginning and
    one at the end, so a short run has two. ``sensors`` None finds them.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor] | None = None,
        *,
        interval: float = 0.2,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sensors = tuple(find_sensors() if sensors is None else sensors)
        self._interval = interval
        self._now = now
        self._stop = threading.Event()
        self._readings: list[list[tuple[float, float]]] = [[] for _ in self._sensors]
        self._thread: threading.Thread | None = None
        self._begun = self._ended = 0.0

    def __enter__(self) -> SensorLog:
        self._begun = self._now()
        self.read(slow=True)
        self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.read(slow=True)
        self._ended = self._now()

    def read(self, *, slow: bool) -> None:
        """Read every sensor once; those that start a process only where ``slow``."""
        for sensor, readings in zip(self._sensors, self._readings, strict=True):
            if slow or not sensor.slow:
                value = sensor.read()
                if value is not None:
                    readings.append((self._now(), value))

    def report(self) -> SensorReport:
        """What was read so far; also while the thread goes on reading."""
        seconds = (self._ended or self._now()) - self._begun
        taken = [
            tuple(readings) for readings in self._readings
        ]  # the thread appends to these lists meanwhile
        series = tuple(
            self._make_series(sensor, readings)
            for sensor, readings in zip(self._sensors, taken, strict=True)
            if readings
        )
        energy = self._find_energy(series, seconds=seconds)
        return SensorReport(
            seconds=seconds,
            energy=energy,
            power=Reading(None, "W", energy.note)
            if energy.value is None or seconds <= 0
            else Reading(energy.value / seconds, "W", energy.note),
            throttling=_add_up(series, "throttling", unit="events"),
            peak_memory=_pick(
                series, "memory", max, note="the largest resident set of this process"
            ),
            steady_memory=_pick(
                series, "memory", statistics.median, note="the median resident set of this process"
            ),
            device_memory=_pick(
                series, "device memory", max, note="in use on the first GPU, by all processes"
            ),
            series=tuple(_thin(one) for one in series),
        )

    def _run(self) -> None:
        last = self._now()
        while not self._stop.wait(self._interval):
            slow = self._now() - last >= _SLOW
            last = self._now() if slow else last
            self.read(slow=slow)

    def _make_series(self, sensor: Sensor, readings: Sequence[tuple[float, float]]) -> Series:
        values = [value for _, value in readings]
        if sensor.kind in ("energy", "throttling"):
            values = _count_from_start(values, wraps=sensor.wraps)
        times = tuple(round(moment - self._begun, 4) for moment, _ in readings)
        return Series(sensor.name, sensor.kind, sensor.unit, sensor.source, times, tuple(values))

    def _find_energy(self, series: Sequence[Series], *, seconds: float) -> Reading:
        """Energy from counters where there are any, else from power over time.

        The whole device's sensor counts alone where there is one.
        """
        totals = {(sensor.name, sensor.kind) for sensor in self._sensors if sensor.total}
        for kind in ("energy", "power"):
            own = [one for one in series if one.kind == kind and len(one.values) > 1]
            own = [one for one in own if (one.name, kind) in totals] or own
            if own:
                joules = sum(one.values[-1] if kind == "energy" else _integrate(one) for one in own)
                names = ", ".join(one.name for one in own)
                return Reading(
                    joules or None,
                    "J",
                    f"{names} ({own[0].source})" if joules else f"{names} did not move",
                )
        return Reading(None, "J", NOT_AVAILABLE)


def _integrate(series: Series) -> float:
    """Watts over seconds, by trapezoids."""
    pairs = list(zip(series.times, series.values, strict=True))
    return sum(
        (after[0] - before[0]) * (after[1] + before[1]) / 2 for before, after in pairwise(pairs)
    )


def _count_from_start(values: Sequence[float], *, wraps: float | None) -> list[float]:
    """What a counter went on by since its first value; one that fell began again at 0."""
    total = 0.0
    counted = [0.0]
    for before, after in pairwise(values):
        step = after - before
        if step < 0:
            step = after if wraps is None else step + wraps
        total += max(step, 0.0)
        counted.append(total)
    return counted


def _add_up(series: Sequence[Series], kind: str, *, unit: str) -> Reading:
    own = [one for one in series if one.kind == kind]
    if not own:
        return Reading(None, unit, NOT_AVAILABLE)
    return Reading(sum(one.values[-1] for one in own), unit, ", ".join(one.name for one in own))


def _pick(
    series: Sequence[Series], kind: str, choose: Callable[[Sequence[float]], float], *, note: str
) -> Reading:
    own = [one for one in series if one.kind == kind]
    if not own:
        return Reading(None, "bytes", NOT_AVAILABLE)
    return Reading(float(choose(own[0].values)), "bytes", note)


def _thin(series: Series) -> Series:
    """At most so many points, the first and the last among them."""
    count = len(series.values)
    if count <= _POINTS:
        return series
    kept = [round(index * (count - 1) / (_POINTS - 1)) for index in range(_POINTS)]
    times, values = (
        tuple(whole[index] for index in kept) for whole in (series.times, series.values)
    )
    return Series(series.name, series.kind, series.unit, series.source, times, values)
