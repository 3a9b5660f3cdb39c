"""The shipped targets: what they claim, and where each number comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from echoexport.targets.spec import Figure, list_targets, load_target

NAMES = (
    "a10",
    "a100",
    "cpu",
    "cpu-openvino",
    "h100",
    "h200",
    "jetson-orin",
    "jetson-orin-32",
    "jetson-orin-nano-8",
    "jetson-orin-nx-16",
    "jetson-orin-nx-8",
    "l4",
    "l40s",
    "rtx",
    "rtx-4090",
)


def figures(name: str) -> Iterator[tuple[str, Figure[Any]]]:
    hardware = load_target(name).hardware
    for field in dataclasses.fields(hardware):
        value = getattr(hardware, field.name)
        if isinstance(value, Figure):
            yield field.name, value


def test_the_package_brings_exactly_these_targets() -> None:
    assert list_targets() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_target_is_called_like_its_file(name: str) -> None:
    assert load_target(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_hardware_figure_has_a_source_or_a_reason_for_its_absence(name: str) -> None:
    for key, figure in figures(name):
        given_text, other = (
            (figure.reason, figure.source)
            if figure.value is None
            else (figure.source, figure.reason)
        )
        assert len(given_text) > 8, key
        assert other == "", key


@pytest.mark.parametrize("name", NAMES)
def test_the_int8_peak_is_twice_that_in_fp16_or_four_times_where_fp32_accumulates(
    name: str,
) -> None:
    hardware = load_target(name).hardware
    if hardware.fp16_dense.value is not None and hardware.int8_dense.value is not None:
        wanted = 4 if name == "rtx-4090" else 2
        assert hardware.int8_dense.value / hardware.fp16_dense.value == pytest.approx(
            wanted, rel=0.03
        )


@pytest.mark.parametrize("name", ["cpu", "cpu-openvino"])
def test_a_cpu_claims_no_peaks_and_leaves_nothing_to_do(name: str) -> None:
    target = load_target(name)
    assert all(figure.value is None for _, figure in figures(name))
    assert (target.kind, target.next_step, target.build.precision) == ("cpu", "", "fp32")


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("jetson")])
def test_a_jetson_gets_the_settings_that_suit_it(name: str) -> None:
    target = load_target(name)
    assert target.hardware.compute_capability.value == "8.7"
    assert target.hardware.memory_shared
    assert [line.tensorrt for line in target.tensorrt] == ["10.3", "10.16.2"]
    assert [line.python for line in target.tensorrt] == ["3.10", "3.12"]
    assert (target.build.precision, target.build.size) == ("fp16", (256, 256))
    assert target.build.steps_for("acc") == 4
    assert target.build.steps_for("base") is None
    assert "'echoexport compile BUNDLE'" in target.next_step


def test_the_default_jetson_is_the_agx_orin_with_64_gb() -> None:
    hardware = load_target("jetson-orin").hardware
    assert (hardware.fp16_dense.value, hardware.memory_bandwidth.value, hardware.memory.value) == (
        42.6,
        204.8,
        64,
    )
    assert hardware.power.value == (15.0, 60.0)


def test_a_kiosk_is_no_single_board_so_it_claims_no_figures() -> None:
    target = load_target("rtx")
    assert (target.kind, target.backends.default, target.backends.portable) == (
        "gpu",
        "tensorrt_rtx",
        ("ort",),
    )
    assert all(figure.value is None for _, figure in figures("rtx"))
    assert "x86" in target.next_step


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("cpu")])
def test_what_is_left_to_do_on_a_gpu_is_to_compile(name: str) -> None:
    assert "echoexport compile" in load_target(name).next_step


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("cpu")])
def test_every_number_of_an_engine_block_has_a_source_or_a_reason_for_its_absence(
    name: str,
) -> None:
    engine = load_target(name).engine
    assert engine is not None
    for figure in (engine.workspace, engine.level, engine.best_of):
        assert len(figure.reason if figure.value is None else figure.source) > 8


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("jetson")])
def test_a_boards_workspace_leaves_most_of_its_shared_memory_alone(name: str) -> None:
    target = load_target(name)
    assert target.engine is not None and target.engine.workspace_bytes is not None
    assert target.hardware.memory.value is not None
    assert 0 < target.engine.workspace_bytes <= target.hardware.memory.value * 1e9 / 8


def test_a_gpus_workspace_is_left_to_the_library() -> None:
    engine = load_target("a100").engine
    assert engine is not None and engine.workspace_bytes is None
