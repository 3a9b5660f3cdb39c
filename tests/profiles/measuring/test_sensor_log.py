"""Sensors over time: ends and largest values kept, and a thread that reads meanwhile."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.measuring.sensor_log import SensorLog
from echoexport.profiles.measuring.sensors import Sensor


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=600))
def test_a_long_series_keeps_its_ends_and_the_largest_value_as_a_figure(
    values: list[float],
) -> None:
    # the first reading of all finds out whether there is a sensor
    left = iter([values[0], *values])
    sensor = Sensor("process", "memory", "bytes", "test", lambda: next(left, None))
    sensor.read()
    log = SensorLog([sensor], interval=3600, now=lambda: 10.0)
    for _ in values:
        log.read(slow=False)
    report = log.report()
    (series,) = report.series
    assert len(series.values) == len(series.times) <= 240
    assert (series.values[0], series.values[-1]) == (values[0], values[-1])
    assert report.peak_memory.value == max(values)


def test_a_thread_reads_while_something_runs() -> None:
    memory = Sensor("process", "memory", "bytes", "test", lambda: 1e6)
    with SensorLog([memory], interval=0.001) as log:
        while len(log.report().of_kind("memory")[0].values) < 4:
            pass
    assert len(log.report().of_kind("memory")[0].values) >= 5


def test_a_report_made_while_the_thread_reads_has_as_many_times_as_values() -> None:
    usual = sys.getswitchinterval()
    rail = Sensor("rail", "power", "W", "test", lambda: 1.0)
    # in seconds; threads take turns within a report, as they do by chance otherwise
    sys.setswitchinterval(1e-6)
    try:
        with SensorLog([rail], interval=1e-5) as log:
            reports = [log.report()]
            # reports are made until the thread has read so often
            while len(reports[-1].series[0].values) < 100:
                reports.append(log.report())
    finally:
        sys.setswitchinterval(usual)
    assert all(
        len(series.times) == len(series.values) for report in reports for series in report.series
    )


class HandClock:
    """Seconds that the test adds."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_energy_is_power_over_time_by_trapezoids_where_nothing_counts_it() -> None:
    clock = HandClock()
    watts = iter([10.0, 20.0, 40.0])
    rail = Sensor("rail", "power", "W", "a file", lambda: next(watts))
    with SensorLog([rail], interval=3600, now=clock) as log:
        clock.time = 2.0
        log.read(slow=False)
        clock.time = 3.0
    report = log.report()
    # (10 + 20) / 2 * 2 s + (20 + 40) / 2 * 1 s
    assert (report.energy.value, report.energy.unit) == (60.0, "J")
    assert report.power.value == 20.0
    assert report.energy.note == "rail (a file)"


def test_a_counter_that_wraps_goes_on_counting_and_one_that_fell_begins_anew() -> None:
    clock = HandClock()
    wrapping = iter([90.0, 5.0])
    fallen = iter([90.0, 5.0])
    sensors = [
        Sensor("package", "energy", "J", "a file", lambda: next(wrapping), wraps=100.0),
        Sensor("events", "throttling", "events", "a file", lambda: next(fallen)),
    ]
    with SensorLog(sensors, interval=3600, now=clock) as log:
        clock.time = 1.0
    assert log.report().energy.value == 15.0
    assert log.report().throttling.value == 5.0


def test_the_sensor_of_the_whole_device_counts_alone() -> None:
    clock = HandClock()
    sensors = [
        Sensor("VDD_IN", "power", "W", "a file", lambda: 9.0, total=True),
        Sensor("VDD_CPU", "power", "W", "a file", lambda: 4.0),
    ]
    with SensorLog(sensors, interval=3600, now=clock) as log:
        clock.time = 2.0
    assert log.report().energy.value == 18.0
    assert [series.name for series in log.report().of_kind("power")] == ["VDD_IN", "VDD_CPU"]
