"""Reading boards: modules, JetPacks, power modes, containers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.runtime.device import Device
from echoexport.runtime.device.jetson import JETPACKS, MODULES
from echoexport.targets.spec import list_targets, load_target

Read = Callable[..., Device]


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


@pytest.mark.parametrize(
    "release", ["R36 (release), REVISION: 4", "# R36 (release), REVISION: 4.0,"]
)
def test_releases_of_fewer_numbers_are_the_same_release(
    release: str,
    write_machine: Callable[[dict[str, str]], Path],
    read_files: Callable[[Path], Device],
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
