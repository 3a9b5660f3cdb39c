"""Reading machines: boards, GPUs and processors as folders of files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.runtime.device import Device, detect_device
from echoexport.runtime.device.jetson import JETPACKS, MODULES
from echoexport.runtime.device.reading import package_version, run_command
from echoexport.targets.spec import list_targets, load_target

DEVICES = Path(__file__).parents[2] / "fixtures" / "devices"
NAMES = sorted(path.name for path in DEVICES.iterdir() if path.is_dir())
# Fields that every machine has, or that belong to the interpreter.
NOT_READ = {"kind", "python", "sources", "notes"}

Read = Callable[..., Device]


@pytest.fixture
def write_machine(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text.encode())
        return tmp_path

    return write


def answer_nothing(command: Sequence[str]) -> None:
    return None


def read_files(root: Path) -> Device:
    """A machine of files alone: no command answers, nothing is installed."""
    return detect_device(root, answer_nothing, package=lambda name: None, environment={})


def test_an_agx_orin_is_read_with_its_jetpack_power_mode_and_libraries(
    recorded_device: Read,
) -> None:
    device = recorded_device("agx-orin-64-jetpack-6.2")
    assert (device.kind, device.target, device.jetpack, device.l4t) == (
        "jetson",
        "jetson-orin",
        "6.2",
        "36.4.3",
    )
    assert (device.power_mode, device.tensorrt, device.cuda) == ("MAXN", "10.3.0.30", "12.6.11")
    assert (device.compute_capability, device.cores, device.arch) == ("8.7", 12, "aarch64")
    assert device.model == "NVIDIA Jetson AGX Orin Developer Kit: Jetson AGX Orin 64 GB"
    assert device.os == "Ubuntu 22.04.5 LTS"


def test_a_real_h100_is_read_as_it_was_recorded(recorded_device: Read) -> None:
    device = recorded_device("h100-recorded")
    assert (device.kind, device.target, device.gpu) == ("gpu", "h100", "NVIDIA H100 80GB HBM3")
    assert (device.driver, device.cuda, device.compute_capability) == ("580.159.04", "13.0", "9.0")
    assert (device.memory, device.power_limit, device.cores) == (81559 * 2**20, 700.0, 16)
    assert (device.host_memory, device.os) == (131981020 * 1024, "Ubuntu 24.04.3 LTS")


def test_an_orin_nano_in_super_mode_on_jetpack_7_is_read(recorded_device: Read) -> None:
    device = recorded_device("orin-nano-8-super-jetpack-7.2.1")
    assert (device.target, device.jetpack, device.l4t) == ("jetson-orin-nano-8", "7.2.1", "39.2.1")
    assert (device.power_mode, device.tensorrt, device.driver) == (
        "MAXN_SUPER",
        "10.16.2.10",
        "595.78",
    )
    assert device.memory == 7802548 * 1024
    assert device.memory == device.host_memory


def test_a_board_without_a_module_number_is_known_by_name_and_memory(recorded_device: Read) -> None:
    device = recorded_device("orin-nx-16-own-carrier")
    assert device.target == "jetson-orin-nx-16"
    assert "MemTotal" in device.sources["target"]
    assert any("has no module number" in note for note in device.notes)


def test_a_release_that_is_not_in_the_table_leaves_the_jetpack_unknown(
    recorded_device: Read,
) -> None:
    device = recorded_device("orin-nx-16-own-carrier")
    assert (device.l4t, device.jetpack) == ("36.9.9", None)
    assert any("36.9.9 is of no JetPack known here" in note for note in device.notes)


def test_cores_that_the_power_mode_switched_off_do_not_count(recorded_device: Read) -> None:
    assert recorded_device("orin-nx-16-own-carrier").cores == 5


def test_a_board_that_was_never_told_a_mode_is_in_its_tables_default(recorded_device: Read) -> None:
    device = recorded_device("orin-nx-16-own-carrier")
    assert device.power_mode == "25W"
    assert device.sources["power_mode"] == "/etc/nvpmodel.conf (its default)"


def test_a_container_that_mounts_the_device_tree_elsewhere_knows_its_board(
    recorded_device: Read,
) -> None:
    device = recorded_device("orin-nx-8-in-a-container")
    assert (device.target, device.jetpack) == ("jetson-orin-nx-8", "6.2.1")
    assert device.sources["target"].startswith("/run/device-tree/compatible")


def test_a_container_that_hides_the_board_is_a_processor_of_no_name(recorded_device: Read) -> None:
    device = recorded_device("arm-container-that-hides-the-board")
    assert (device.kind, device.target, device.model, device.jetpack) == ("cpu", "cpu", None, None)


def test_a_thor_is_a_jetson_of_no_target(recorded_device: Read) -> None:
    device = recorded_device("agx-thor-jetpack-7.1")
    assert (device.kind, device.target, device.jetpack, device.compute_capability) == (
        "jetson",
        None,
        "7.1",
        "11.0",
    )
    assert (device.power_mode, device.sources["power_mode"]) == ("MAXN", "nvpmodel -q")
    assert device.notes == ("module p3834-0008 is none known here",)


def test_the_first_of_several_equal_gpus_is_read_and_the_others_are_told(
    recorded_device: Read,
) -> None:
    device = recorded_device("a100-server")
    assert (device.kind, device.target, device.gpu) == ("gpu", "a100", "NVIDIA A100-SXM4-80GB")
    assert (device.compute_capability, device.driver, device.cuda) == ("8.0", "580.82.07", "13.0")
    assert (device.memory, device.memory_available) == (81920 * 2**20, 81150 * 2**20)
    assert (device.power_limit, device.tensorrt) == (400.0, "10.16.0.72")
    assert device.host_memory == 1056434236 * 1024
    assert any("number 0 of 4 GPUs" in note for note in device.notes)


@pytest.mark.parametrize("chosen", ["1", "GPU-dddd1111"])
def test_the_gpu_that_the_environment_chooses_is_read(recorded_device: Read, chosen: str) -> None:
    device = recorded_device("two-different-gpus", CUDA_VISIBLE_DEVICES=chosen)
    assert (device.gpu, device.target) == ("NVIDIA GeForce RTX 4090", "rtx-4090")


def test_different_gpus_come_with_the_advice_to_fix_their_order(recorded_device: Read) -> None:
    device = recorded_device("two-different-gpus")
    assert device.gpu == "NVIDIA GeForce RTX 3060"
    assert any("CUDA_DEVICE_ORDER=PCI_BUS_ID" in note for note in device.notes)


@pytest.mark.parametrize("hidden", ["", "-1", "7"])
def test_gpus_that_the_environment_hides_are_not_there(recorded_device: Read, hidden: str) -> None:
    device = recorded_device("a100-server", CUDA_VISIBLE_DEVICES=hidden)
    assert (device.kind, device.target, device.gpu) == ("cpu", "cpu", None)
    assert len(device.notes) == 1
    assert device.notes[0].startswith("CUDA_VISIBLE_DEVICES")


def test_a_slice_of_a_gpu_has_its_own_memory_and_is_no_target(recorded_device: Read) -> None:
    device = recorded_device("h100-mig-slice")
    assert (device.gpu, device.memory, device.target) == (
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        40 * 10**9,
        None,
    )
    assert device.memory_available is None


def test_the_slice_that_the_environment_chooses_is_read(recorded_device: Read) -> None:
    device = recorded_device("h100-mig-slice", CUDA_VISIBLE_DEVICES="MIG-33333333-4444")
    assert (device.gpu, device.memory) == ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10**10)


def test_a_driver_too_old_to_tell_the_compute_capability_tells_the_rest(
    recorded_device: Read,
) -> None:
    device = recorded_device("old-driver-l4")
    assert (device.gpu, device.compute_capability, device.driver) == (
        "NVIDIA L4",
        None,
        "470.82.01",
    )
    assert device.memory == 23034 * 2**20


def test_a_driver_without_its_tools_is_found_through_the_kernel_module(
    recorded_device: Read,
) -> None:
    device = recorded_device("driver-without-smi")
    assert (device.kind, device.gpu, device.driver, device.target) == (
        "gpu",
        "NVIDIA A10",
        "580.82.07",
        "a10",
    )
    assert any("nvidia-smi does not answer" in note for note in device.notes)


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


@pytest.mark.parametrize("name", NAMES)
def test_a_device_can_be_hashed_compared_and_written_as_json(
    recorded_device: Read, name: str
) -> None:
    assert len({recorded_device(name), recorded_device(name)}) == 1
    assert (
        json.loads(json.dumps(dataclasses.asdict(recorded_device(name))))["kind"]
        == recorded_device(name).kind
    )


def test_this_very_machine_can_be_read() -> None:
    device = detect_device()
    assert device.kind in ("jetson", "gpu", "cpu")
    assert device.arch
    assert device.cores is None or device.cores > 0


def test_a_machine_of_which_nothing_can_be_read_is_a_processor_that_says_nothing(
    tmp_path: Path,
) -> None:
    device = read_files(tmp_path / "nowhere")
    silent = {key for key, value in vars(device).items() if value is None}
    assert (device.kind, device.target) == ("cpu", "cpu")
    assert {"model", "memory", "cores", "os", "arch", "tensorrt"} <= silent


def test_a_library_without_pythons_part_is_still_named(
    write_machine: Callable[[dict[str, str]], Path],
) -> None:
    status = (
        "Package: libnvinfer10\nStatus: install ok installed\nVersion: 1:10.3.0.30-1+cuda12.5\n"
    )
    device = read_files(write_machine({"var/lib/dpkg/status": status}))
    assert device.tensorrt == "10.3.0.30"
    assert device.sources["tensorrt"] == "Debian package libnvinfer10 1:10.3.0.30-1+cuda12.5"


def test_a_removed_package_is_not_installed(
    write_machine: Callable[[dict[str, str]], Path],
) -> None:
    status = "Package: libnvinfer10\nStatus: deinstall ok config-files\nVersion: 10.3.0.30-1\n"
    assert read_files(write_machine({"var/lib/dpkg/status": status})).tensorrt is None


def test_pythons_package_wins_over_another_version_of_the_system(tmp_path: Path) -> None:
    folder = DEVICES / "agx-orin-64-jetpack-6.2" / "root"
    device = detect_device(
        folder, answer_nothing, package={"tensorrt": "10.7.0"}.get, environment={}
    )
    assert (device.tensorrt, device.sources["tensorrt"]) == ("10.7.0", "Python package tensorrt")


@pytest.mark.parametrize(
    "release", ["R36 (release), REVISION: 4", "# R36 (release), REVISION: 4.0,"]
)
def test_releases_of_fewer_numbers_are_the_same_release(
    release: str, write_machine: Callable[[dict[str, str]], Path]
) -> None:
    device = read_files(write_machine({"etc/nv_tegra_release": release}))
    assert (device.kind, device.l4t, device.jetpack) == ("jetson", "36.4.0", "6.1")


def test_every_module_of_the_table_names_a_target_that_exists_with_that_memory() -> None:
    for name, target in MODULES.values():
        if target is not None:
            assert f"{load_target(target).hardware.memory.value:g} GB" in name
    assert {target for _, target in MODULES.values() if target} == {
        n for n in list_targets() if n.startswith("jetson")
    }


def test_each_release_of_the_table_is_of_the_line_that_its_number_says() -> None:
    assert {(release[:2], jetpack[0]) for release, jetpack in JETPACKS.items()} == {
        ("36", "6"),
        ("38", "7"),
        ("39", "7"),
    }


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


def test_a_folder_where_a_file_should_be_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "etc" / "nv_tegra_release").mkdir(parents=True)
    assert read_files(tmp_path).kind == "cpu"


def test_a_command_that_is_missing_or_fails_answers_nothing() -> None:
    assert run_command(("no-such-command-of-ours",)) is None
    assert run_command(("false",)) is None
    assert run_command(("uname", "-s")) == "Linux\n"


def test_a_distribution_that_is_not_installed_has_no_version() -> None:
    assert package_version("no-such-distribution-of-ours") is None
    assert package_version("numpy") is not None
