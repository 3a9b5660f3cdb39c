"""The machine as one record: where each value was read, and machines that say nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.runtime.device import Device, detect_device

DEVICES = Path(__file__).parents[2] / "fixtures" / "devices"
NAMES = sorted(path.name for path in DEVICES.iterdir() if path.is_dir())
# Fields that every machine has, or that belong to the interpreter.
NOT_READ = {"kind", "python", "sources", "notes"}
Read = Callable[..., Device]


def answer_nothing(command: Sequence[str]) -> None:
    return None


def test_a_machine_without_a_gpu_is_its_processor(recorded_device: Read) -> None:
    device = recorded_device("cpu-box")
    assert (device.kind, device.target, device.model) == (
        "cpu",
        "cpu",
        "Intel(R) Core(TM) i7-14700",
    )
    assert device.memory == device.host_memory == 32650236 * 1024


@pytest.mark.parametrize("name", NAMES)
def test_every_value_says_where_it_was_read_and_nothing_else_does(
    recorded_device: Read, name: str
) -> None:
    device = recorded_device(name)
    values = {key: value for key, value in vars(device).items() if key not in NOT_READ}
    assert set(device.sources) == {key for key, value in values.items() if value is not None}
    assert all(device.sources.values())


def test_this_very_machine_can_be_read() -> None:
    device = detect_device()
    assert device.kind in ("jetson", "gpu", "cpu")
    assert device.arch
    assert device.cores is None or device.cores > 0


def test_a_machine_of_which_nothing_can_be_read_is_a_processor_that_says_nothing(
    tmp_path: Path, read_files: Callable[[Path], Device]
) -> None:
    device = read_files(tmp_path / "nowhere")
    silent = {key for key, value in vars(device).items() if value is None}
    assert (device.kind, device.target) == ("cpu", "cpu")
    assert {"model", "memory", "cores", "os", "arch", "tensorrt"} <= silent


def test_a_library_without_pythons_part_is_still_named(
    write_machine: Callable[[dict[str, str]], Path], read_files: Callable[[Path], Device]
) -> None:
    status = (
        "Package: libnvinfer10\nStatus: install ok installed\nVersion: 1:10.3.0.30-1+cuda12.5\n"
    )
    device = read_files(write_machine({"var/lib/dpkg/status": status}))
    assert device.tensorrt == "10.3.0.30"
    assert device.sources["tensorrt"] == "Debian package libnvinfer10 1:10.3.0.30-1+cuda12.5"


def test_pythons_package_wins_over_another_version_of_the_system(tmp_path: Path) -> None:
    folder = DEVICES / "agx-orin-64-jetpack-6.2" / "root"
    device = detect_device(
        folder, answer_nothing, package={"tensorrt": "10.7.0"}.get, environment={}
    )
    assert (device.tensorrt, device.sources["tensorrt"]) == ("10.7.0", "Python package tensorrt")


FILES = (
    "proc/device-tree/model",
    "proc/device-tree/compatible",
    "etc/nv_tegra_release",
    "etc/nvpmodel.conf",
    "var/lib/nvpmodel/status",
    "proc/meminfo",
    "var/lib/dpkg/status",
    "usr/local/cuda/version.json",
    "proc/driver/nvidia/version",
    "proc/cpuinfo",
    "sys/devices/system/cpu/online",
    "etc/os-release",
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.dictionaries(st.sampled_from(FILES), st.binary(max_size=60)),
    answer=st.none()
    | st.text(max_size=60)
    | st.lists(st.text(max_size=4), min_size=9, max_size=9).map(",".join),
)
def test_whatever_the_files_and_commands_hold_nothing_is_raised(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes], answer: str | None
) -> None:
    root = tmp_path_factory.mktemp("machine")
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    device = detect_device(root, lambda command: answer, package=lambda name: None, environment={})
    assert device.kind in ("jetson", "gpu", "cpu")
