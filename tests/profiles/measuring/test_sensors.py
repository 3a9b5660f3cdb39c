"""Sensors: rails, RAPL, clocks, heat, throttling and memory, on files of other machines."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from echoexport.profiles.measuring.sensor_log import SensorLog, SensorReport
from echoexport.profiles.measuring.sensors import NOT_AVAILABLE, Sensor, find_sensors
from echoexport.profiles.pages.profile_markdown import describe_reading

MACHINES = Path(__file__).parents[2] / "fixtures" / "sensors"
ANSWER = (MACHINES / "nvidia-smi.txt").read_text()


def no_command(command: Sequence[str]) -> str | None:
    return None


def read_all(
    machine: str, run: Callable[[Sequence[str]], str | None] = no_command
) -> dict[tuple[str, str], float]:
    found = find_sensors(MACHINES / machine, run=run)
    return {(sensor.kind, sensor.name): sensor.read() or 0.0 for sensor in found}


class HandClock:
    def __init__(self) -> None:
        self.time = 10.0

    def __call__(self) -> float:
        return self.time


def log_values(
    sensors: Sequence[Sensor], change: Callable[[], None] = lambda: None, *, seconds: float = 2.0
) -> SensorReport:
    """Two readings, ``seconds`` apart by a clock of the test's own.

    The thread of the log comes to none.
    """
    clock = HandClock()
    with SensorLog(sensors, interval=3600, now=clock) as log:
        clock.time += seconds
        change()
    return log.report()


def test_a_jetsons_rails_are_volts_times_amperes() -> None:
    power = {
        name: watts for (kind, name), watts in read_all("orin-nano-8").items() if kind == "power"
    }
    assert power == {
        "VDD_IN": pytest.approx(7.43552),
        "VDD_CPU_GPU_CV": pytest.approx(2.40768),
        "VDD_SOC": pytest.approx(1.60768),
    }


def test_energy_of_a_board_that_measures_its_supply_is_the_supplys() -> None:
    report = log_values(find_sensors(MACHINES / "orin-nano-8", run=no_command))
    assert report.energy.value == pytest.approx(2 * 7.43552)
    assert report.power.value == pytest.approx(7.43552)
    assert report.energy.note.startswith("VDD_IN (/sys/bus/i2c/drivers/ina3221/1-0040/")


def test_energy_of_a_board_without_such_a_rail_is_that_of_all_rails_that_are_connected() -> None:
    report = log_values(find_sensors(MACHINES / "agx-orin-64", run=no_command), seconds=1.0)
    assert report.energy.value == pytest.approx(19.16 * 0.5 + 5.04 * 1.2)
    assert "NC" not in report.energy.note


def test_clocks_and_temperatures_are_in_megahertz_and_degrees() -> None:
    found = read_all("orin-nano-8")
    assert found["clock", "processor"] == pytest.approx((1510.4 + 729.6) / 2)
    assert found["clock", "GPU"] == pytest.approx(624.75)
    assert found["temperature", "tj-thermal"] == pytest.approx(49.062)
    assert found["memory", "process"] == 412345 * 1024


def test_a_processor_without_cpufreq_tells_its_clock_in_cpuinfo() -> None:
    found = read_all("xeon")
    assert found["clock", "processor"] == pytest.approx(2500.0)
    assert [name for kind, name in found if kind == "temperature"] == ["x86_pkg_temp"]


def copy_machine(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(MACHINES / name, tmp_path / name))


def test_rapls_energy_is_that_of_packages_across_a_wrap(tmp_path: Path) -> None:
    root = copy_machine("xeon", tmp_path)

    def go_on() -> None:
        (root / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("6671150\n")
        (root / "sys/class/powercap/intel-rapl:1/energy_uj").write_text("31000000\n")

    report = log_values(find_sensors(root, run=no_command), go_on)
    # 143.32885 J up to the wrap and 6.67115 J after it, and 30 J of the other package;
    # dram is within a package
    assert report.energy.value == pytest.approx(180.0)
    assert report.power.value == pytest.approx(90.0)


def test_throttling_counts_events_since_the_beginning(tmp_path: Path) -> None:
    root = copy_machine("xeon", tmp_path)

    def throttle() -> None:
        (root / "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count").write_text(
            "10\n"
        )

    report = log_values(find_sensors(root, run=no_command), throttle)
    assert report.throttling.value == 3
    assert log_values(find_sensors(MACHINES / "orin-nano-8", run=no_command)).throttling.value == 0


def test_a_machine_that_shows_nothing_has_no_figures_and_no_zeros(tmp_path: Path) -> None:
    report = log_values(find_sensors(tmp_path, run=no_command))
    readings = (
        report.energy,
        report.power,
        report.throttling,
        report.peak_memory,
        report.steady_memory,
        report.device_memory,
    )
    assert [(reading.value, describe_reading(reading)) for reading in readings] == [
        (None, NOT_AVAILABLE)
    ] * 6
    assert report.series == ()


def test_a_counter_that_stands_still_is_no_energy_of_zero() -> None:
    report = log_values(find_sensors(MACHINES / "xeon", run=no_command))
    assert report.energy.value is None
    assert "did not move" in describe_reading(report.energy)


def test_a_sensor_that_the_kernel_refuses_is_not_there(tmp_path: Path) -> None:
    root = copy_machine("orin-nano-8", tmp_path)
    (root / "sys/class/thermal/thermal_zone1/temp").unlink()
    (root / "sys/class/thermal/thermal_zone1/temp").mkdir()  # reading it fails
    names = [
        sensor.name for sensor in find_sensors(root, run=no_command) if sensor.kind == "temperature"
    ]
    assert names == ["cpu-thermal", "tj-thermal"]


def test_a_card_is_asked_once_for_all_of_its_figures() -> None:
    asked = []

    def run(command: Sequence[str]) -> str | None:
        asked.append(command[0])
        return ANSWER

    sensors = [sensor for sensor in find_sensors(MACHINES / "agx-orin-64", run=run) if sensor.slow]
    asked.clear()
    values = {sensor.kind: sensor.read() for sensor in sensors}
    assert values["power"] == 312.45
    assert values["clock"] == 1755
    assert values["temperature"] == 61
    assert values["device memory"] == 20480 * 2**20
    assert asked == ["nvidia-smi"]


@pytest.mark.parametrize(
    ("reasons", "events"), [("0x0000000000000001", 0), ("0x0000000000000044", 1)]
)
def test_an_idle_card_is_not_throttled_and_a_hot_one_is(reasons: str, events: int) -> None:
    sensors = find_sensors(
        MACHINES / "agx-orin-64", run=lambda command: f"10, 300, 40, 100, {reasons}\n"
    )
    assert log_values([sensor for sensor in sensors if sensor.slow]).throttling.value == events


@pytest.mark.parametrize(
    "answer", ["", "[N/A], [N/A], [N/A], [N/A], [N/A]\n", "No devices were found\n"]
)
def test_a_card_that_says_nothing_is_not_there(answer: str) -> None:
    assert not [
        sensor
        for sensor in find_sensors(MACHINES / "xeon", run=lambda command: answer)
        if sensor.slow
    ]
