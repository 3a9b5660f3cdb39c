"""What a device's files say of its power, energy, clocks, temperatures and throttling."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from echoexport.runtime.device.reading import RunCommand, run_program

__all__ = ["NOT_AVAILABLE", "SENSOR_KINDS", "Sensor", "find_sensors", "read_resident_memory"]

NOT_AVAILABLE = "not available on this device"

SENSOR_KINDS = ("energy", "power", "clock", "temperature", "throttling", "device memory", "memory")
"""Kinds of sensors: energy and throttling count upwards, the rest are values of a moment."""

_RAPL_DOMAIN = re.compile(r"intel-rapl:\d+$")  # packages; what they contain would be counted twice
_GPU_FIELDS = (
    "power.draw",
    "clocks.sm",
    "temperature.gpu",
    "memory.used",
    "clocks_throttle_reasons.active",
)
# Bits of NVML's throttle reasons that slow a busy GPU down: power cap, slowdown, both
# thermal ones, power brake.
_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


@dataclass(frozen=True)
class Sensor:
    """One thing that can be read again and again. ``read`` gives None where it fails for once."""

    name: str
    kind: str
    """A word of ``SENSOR_KINDS``."""
    unit: str
    """Unit of what ``read`` gives: J, W, MHz, C, bytes, or events."""
    source: str
    """The file or command."""
    read: Callable[[], float | None]
    wraps: float | None = None
    """The value after which a counter begins again at 0, None where it does not."""
    slow: bool = False
    """Whether reading starts a process."""
    total: bool = False
    """Whether it is the whole device's, of which others of its kind are parts."""


def find_sensors(root: Path = Path("/"), *, run: RunCommand = run_program) -> tuple[Sensor, ...]:
    """All sensors that can be read here now; files are looked for below ``root``.

    Power rails of a Jetson are those of the ina3221 driver (Linux,
    Documentation/hwmon/ina3221), energy is RAPL's (Documentation/power/powercap), an
    NVIDIA GPU of a card is asked through nvidia-smi. What gives nothing at the first
    try is not there.
    """
    found = (
        *_find_rapl(root),
        *_find_rails(root),
        *_find_clocks(root),
        *_find_temperatures(root),
        *_find_throttling(root),
        *_find_gpu(run),
        *_find_memory(root),
    )
    return tuple(sensor for sensor in found if sensor.read() is not None)


def read_resident_memory(root: Path = Path("/")) -> float | None:
    """Bytes of this process that are in memory; None where the system does not tell."""
    text = _read(root / "proc/self/status") or ""
    found = re.search(r"^VmRSS:\s*(\d+) kB", text, re.MULTILINE)
    return None if found is None else float(found[1]) * 1024


def _find_rapl(root: Path) -> Iterator[Sensor]:
    for folder in _list(root / "sys/class/powercap"):
        if not _RAPL_DOMAIN.match(folder.name):
            continue
        name = _read(folder / "name") or folder.name
        most = _read_number(folder / "max_energy_range_uj")
        yield Sensor(
            name,
            "energy",
            "J",
            _say(root, folder / "energy_uj"),
            _scaled(folder / "energy_uj", 1e-6),
            wraps=None if most is None else most * 1e-6,
            total=name == "psys",
        )


def _find_rails(root: Path) -> Iterator[Sensor]:
    """Rails with a label, volts times amperes.

    On boards that measure their supply, VDD_IN is all of it.
    """
    for chip in _list(root / "sys/bus/i2c/drivers/ina3221"):
        for hwmon in _list(chip / "hwmon"):
            for channel in (1, 2, 3):
                label = _read(hwmon / f"in{channel}_label")
                if label and label != "NC":
                    volts = hwmon / f"in{channel}_input"
                    amperes = hwmon / f"curr{channel}_input"
                    yield Sensor(
                        label,
                        "power",
                        "W",
                        _say(root, amperes),
                        _product(volts, amperes),
                        total=label == "VDD_IN",
                    )


def _find_clocks(root: Path) -> Iterator[Sensor]:
    cores = [
        folder / "cpufreq/scaling_cur_freq" for folder in _list(root / "sys/devices/system/cpu")
    ]
    cores = [path for path in cores if _read_number(path) is not None]
    if cores:
        yield Sensor("processor", "clock", "MHz", _say(root, cores[0]), _mean(cores, 1e-3))
    elif re.search(r"^cpu MHz", _read(root / "proc/cpuinfo") or "", re.MULTILINE):
        yield Sensor(
            "processor",
            "clock",
            "MHz",
            "/proc/cpuinfo",
            lambda: _read_cpu_info(root / "proc/cpuinfo"),
        )
    for folder in _list(root / "sys/class/devfreq"):
        if re.search(r"gpu|ga10b|gv11b|gp10b", folder.name):
            path = folder / "cur_freq"
            yield Sensor("GPU", "clock", "MHz", _say(root, path), _scaled(path, 1e-6))


def _find_temperatures(root: Path) -> Iterator[Sensor]:
    for folder in _list(root / "sys/class/thermal"):
        name = _read(folder / "type") if folder.name.startswith("thermal_zone") else None
        if name:
            yield Sensor(
                name,
                "temperature",
                "C",
                _say(root, folder / "temp"),
                _scaled(folder / "temp", 1e-3),
            )


def _find_throttling(root: Path) -> Iterator[Sensor]:
    """Counters of throttling events.

    They are Intel's of each processor, and a Jetson's over-current alarms
    (soctherm_oc).
    """
    paths = [
        folder / "thermal_throttle/package_throttle_count"
        for folder in _list(root / "sys/devices/system/cpu")
    ]
    paths = [path for path in paths if _read_number(path) is not None]
    if paths:  # every core of a package gives the package's count
        yield Sensor("thermal", "throttling", "events", _say(root, paths[0]), _largest(paths))
    for folder in _list(root / "sys/class/hwmon"):
        if _read(folder / "name") == "soctherm_oc":
            for path in sorted(folder.glob("oc*_event_cnt")):
                name = f"over-current {path.name.split('_')[0][2:]}"
                yield Sensor(name, "throttling", "events", _say(root, path), _scaled(path, 1.0))


def _find_gpu(run: RunCommand) -> Iterator[Sensor]:
    """The first GPU's power, clock, temperature, memory, and whether it is being slowed down."""
    card = _Card(run)
    for kind, name, unit, field, scale in (
        ("power", "GPU", "W", "power.draw", 1.0),
        ("clock", "GPU", "MHz", "clocks.sm", 1.0),
        ("temperature", "GPU", "C", "temperature.gpu", 1.0),
        ("device memory", "GPU", "bytes", "memory.used", 2.0**20),
        ("throttling", "GPU slowed down", "samples", "clocks_throttle_reasons.active", 1.0),
    ):
        yield Sensor(name, kind, unit, f"nvidia-smi {field}", card.reader(field, scale), slow=True)


def _find_memory(root: Path) -> Iterator[Sensor]:
    yield Sensor(
        "process", "memory", "bytes", "/proc/self/status", lambda: read_resident_memory(root)
    )


class _Card:
    """Asks nvidia-smi once for all of its fields: each field that was read already asks anew."""

    def __init__(self, run: RunCommand) -> None:
        self._run = run
        self._given: set[str] = set()
        self._values: Mapping[str, str] = {}
        self._slowed = 0

    def reader(self, field: str, scale: float) -> Callable[[], float | None]:
        def read() -> float | None:
            if field in self._given or not self._given:
                self._ask()
            self._given.add(field)
            text = self._values.get(field, "")
            if field == _GPU_FIELDS[-1]:
                return self._count(text)
            try:
                return float(text) * scale
            except ValueError:  # "[N/A]", or nothing
                return None

        return read

    def _ask(self) -> None:
        answer = self._run(
            ("nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits")
        )
        cells = [cell.strip() for cell in (answer or "").partition("\n")[0].split(",")]
        self._values = dict(zip(_GPU_FIELDS, cells, strict=False))
        self._given = set()

    def _count(self, text: str) -> float | None:
        try:
            self._slowed += bool(int(text, 16) & _SLOWED)
        except ValueError:
            return None
        return float(self._slowed)


def _scaled(path: Path, scale: float) -> Callable[[], float | None]:
    def read() -> float | None:
        value = _read_number(path)
        return None if value is None else value * scale

    return read


def _product(volts: Path, amperes: Path) -> Callable[[], float | None]:
    """Millivolts times milliamperes, as watts."""

    def read() -> float | None:
        one = _read_number(volts)
        other = _read_number(amperes)
        return None if one is None or other is None else one * other * 1e-6

    return read


def _mean(paths: list[Path], scale: float) -> Callable[[], float | None]:
    def read() -> float | None:
        values = [value for value in map(_read_number, paths) if value is not None]
        return scale * sum(values) / len(values) if values else None

    return read


def _largest(paths: list[Path]) -> Callable[[], float | None]:
    return lambda: max(
        (value for value in map(_read_number, paths) if value is not None), default=None
    )


def _read_cpu_info(path: Path) -> float | None:
    values = [
        float(text)
        for text in re.findall(r"^cpu MHz\s*: ([\d.]+)", _read(path) or "", re.MULTILINE)
    ]
    return sum(values) / len(values) if values else None


def _read_number(path: Path) -> float | None:
    try:
        return float(_read(path) or "")
    except ValueError:
        return None


def _read(path: Path) -> str | None:
    """A small file's text.

    None where there is none, or the kernel refuses (a sensor that is switched off).
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):
        return None


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []


def _say(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root).as_posix()}"
