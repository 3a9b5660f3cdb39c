"""Reading NVIDIA's GPUs: several, hidden, sliced, with old drivers or none of their tools."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from echoexport.runtime.device import Device

Read = Callable[..., Device]


def test_a_real_h100_is_read_as_it_was_recorded(recorded_device: Read) -> None:
    device = recorded_device("h100-recorded")
    assert (device.kind, device.target, device.gpu) == ("gpu", "h100", "NVIDIA H100 80GB HBM3")
    assert (device.driver, device.cuda, device.compute_capability) == ("580.159.04", "13.0", "9.0")
    assert (device.memory, device.power_limit, device.cores) == (81559 * 2**20, 700.0, 16)
    assert (device.host_memory, device.os) == (131981020 * 1024, "Ubuntu 24.04.3 LTS")


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
