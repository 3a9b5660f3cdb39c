"""Which target a machine is, and the refusal of any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from echoexport.runtime.device import (
    Device,
    detect_device,
    match_target,
    require_target,
    usable_memory,
)
from echoexport.runtime.device.matching import describe_device
from echoexport.runtime.errors import TargetMismatchError
from echoexport.targets.spec import TargetSpec, list_targets, load_target

BOX = detect_device(
    Path("/nowhere"), lambda command: None, package=lambda name: None, environment={}
)
GB = 10**9


def make(kind: str, **values: object) -> Device:
    return dataclasses.replace(BOX, kind=kind, **{"target": None, **values})  # type: ignore[arg-type]


def make_gpu(name: str, capability: str = "8.9") -> Device:
    return make("gpu", gpu=name, compute_capability=capability, model="AMD EPYC")


def make_jetson(target: str | None = "jetson-orin") -> Device:
    return make(
        "jetson",
        target=target,
        model="NVIDIA Jetson Board",
        compute_capability="8.7",
        arch="aarch64",
    )


def why_refused(device: Device, target: TargetSpec) -> str:
    """Why engines for a target are not built on a device; nothing where they are."""
    try:
        require_target(device, target)
    except TargetMismatchError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA A10G", None),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 NVL", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40", None),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090 D", "rtx"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx"),
        ("NVIDIA GeForce RTX 3060", "rtx"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx"),
        ("NVIDIA GeForce GTX 1080", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_a_gpu_is_known_by_its_name(name: str, target: str | None) -> None:
    assert match_target(make_gpu(name)) == target


def test_an_rtx_gpu_that_tensorrt_rtx_builds_nothing_for_is_no_target() -> None:
    assert match_target(make_gpu("NVIDIA RTX of another age", "9.9")) is None


@pytest.mark.parametrize(
    "name", [name for name in list_targets() if load_target(name).kind == "cpu"]
)
@pytest.mark.parametrize(
    "device", [BOX, make_jetson(), make_gpu("NVIDIA L4")], ids=["cpu", "jetson", "gpu"]
)
def test_every_machine_can_be_compiled_for_as_a_processor(device: Device, name: str) -> None:
    assert why_refused(device, load_target(name)) == ""
    assert match_target(BOX) == "cpu"


@pytest.mark.parametrize(
    "name", [name for name in list_targets() if load_target(name).kind == "jetson"]
)
def test_a_board_passes_as_itself_only(name: str) -> None:
    assert why_refused(make_jetson(name), load_target(name)) == ""
    other = next(n for n in ("jetson-orin", "jetson-orin-32") if n != name)
    with pytest.raises(
        TargetMismatchError, match=f"target {other} .*this machine is {name} .*--target {name} here"
    ):
        require_target(make_jetson(name), load_target(other))


@pytest.mark.parametrize(
    "device",
    [
        make("cpu", arch="x86_64"),
        make("gpu", arch="x86_64", gpu="NVIDIA GeForce RTX 4090", compute_capability="8.9"),
    ],
    ids=["no GPU", "RTX 4090"],
)
def test_engines_for_kiosks_are_built_on_every_x86_machine(device: Device) -> None:
    assert why_refused(device, load_target("rtx")) == ""


def test_engines_for_kiosks_are_not_built_on_a_board() -> None:
    with pytest.raises(TargetMismatchError, match=r"target rtx .*this machine is jetson-orin"):
        require_target(make_jetson(), load_target("rtx"))


def test_a_slice_of_a_gpu_passes_as_none_of_our_targets() -> None:
    device = make_gpu("NVIDIA A100-SXM4-80GB MIG 3g.40gb", "8.0")
    with pytest.raises(TargetMismatchError, match=r"MIG 3g.40gb.*a target file of your own"):
        require_target(device, load_target("a100"))


def test_another_gpu_is_refused_with_both_names_and_the_fix() -> None:
    with pytest.raises(
        TargetMismatchError,
        match=r"target h100 .*this machine is l4 \(NVIDIA L4 in AMD EPYC\).*--target l4",
    ):
        require_target(make_gpu("NVIDIA L4"), load_target("h100"))


def test_an_x86_machine_is_told_that_it_is_no_jetson() -> None:
    device = make("cpu", arch="x86_64", model="Intel Core")
    with pytest.raises(TargetMismatchError, match=r"this machine is cpu \(Intel Core\)"):
        require_target(device, load_target("jetson-orin"))


def test_a_container_that_hides_the_board_says_what_was_not_readable() -> None:
    device = make("cpu", arch="aarch64")
    with pytest.raises(
        TargetMismatchError,
        match=r"/proc/device-tree/compatible nor /etc/nv_tegra_release.*mount both",
    ):
        require_target(device, load_target("jetson-orin"))


def test_a_board_without_a_number_says_that_none_was_readable() -> None:
    with pytest.raises(
        TargetMismatchError, match=r"NVIDIA Jetson Board.*no module number was readable"
    ):
        require_target(make_jetson(None), load_target("jetson-orin"))


def test_a_target_file_of_the_users_own_passes_by_kind_and_compute_capability() -> None:
    own = dataclasses.replace(load_target("jetson-orin"), name="my-board")
    assert why_refused(make_jetson(None), own) == ""
    with pytest.raises(
        TargetMismatchError, match=r"my-board .*wants kind jetson, compute capability 8.7.*kind gpu"
    ):
        require_target(make_gpu("NVIDIA L4"), own)


def test_a_target_file_without_a_compute_capability_passes_by_kind() -> None:
    own = dataclasses.replace(load_target("rtx"), name="my-kiosks")
    assert why_refused(make_gpu("NVIDIA GeForce GTX 1080", "6.1"), own) == ""


@pytest.mark.parametrize(
    ("device", "usable"),
    [
        (make("jetson", memory=8 * GB, memory_available=7 * GB), 6 * GB),
        (make("jetson", memory=8 * GB, memory_available=2 * GB), 2 * GB),
        (make("jetson", memory=8 * GB, memory_available=None), 6 * GB),
        (make("jetson", memory=66 * GB, memory_available=50 * GB), 50 * GB),
        (make("gpu", memory=8 * GB, memory_available=7 * GB), 7 * GB),
        (make("gpu", memory=8 * GB, memory_available=None), None),
    ],
)
def test_a_small_board_never_plans_with_more_than_six_gigabytes(
    device: Device, usable: int | None
) -> None:
    assert usable_memory(device) == usable


def test_the_planning_figure_is_that_of_the_target_files() -> None:
    named = [load_target(name).hardware for name in ("jetson-orin-nano-8", "jetson-orin-nx-8")]
    device = make("jetson", memory=8 * GB, memory_available=None)
    assert {usable_memory(device)} == {
        int((hardware.memory_usable.value or 0) * GB) for hardware in named
    }


def test_a_machine_is_described_in_a_few_words() -> None:
    assert describe_device(make_gpu("NVIDIA L4")) == "NVIDIA L4 in AMD EPYC"
    assert describe_device(make("jetson")) == "an unknown Jetson"
    assert describe_device(make("cpu", model="Intel Core")) == "Intel Core"
