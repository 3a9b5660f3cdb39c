"""The conditions of a figure: the machine, its versions and the date."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.profiles.measuring import circumstances as circumstances_module
from echoexport.profiles.measuring.circumstances import describe_circumstances, describe_machine


def test_conditions_say_machine_versions_date_and_that_it_was_measured() -> None:
    found = describe_circumstances()
    assert found.machine.processor and found.machine.cores >= 1 and found.machine.system
    assert found.libraries["numpy"] == np.__version__
    assert found.date.endswith("+00:00")
    assert (found.origin, found.clock) == ("measured", "perf_counter")


def test_a_machine_is_described_from_its_system_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor : 0\nmodel name\t: Some CPU @ 2 GHz\n", encoding="utf-8"
    )
    (tmp_path / "meminfo").write_text("MemTotal:       2048 kB\nMemFree: 1 kB\n", encoding="utf-8")
    monkeypatch.setattr(circumstances_module, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(circumstances_module, "_MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(circumstances_module, "_BOARD_MODEL", tmp_path / "model")
    assert (describe_machine().processor, describe_machine().memory) == (
        "Some CPU @ 2 GHz",
        2048 * 1024,
    )


@pytest.mark.parametrize(
    ("told", "instructions"),
    [
        ("flags\t\t: fpu avx2 avx512_bf16 avx512f\n", ("avx2", "avx512f", "avx512_bf16")),
        ("Features\t: fp asimddp i8mm bf16\n", ("asimddp", "i8mm", "bf16")),
        ("model name : old\n", ()),
    ],
)
def test_a_machine_says_which_instructions_for_networks_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, instructions: tuple[str, ...]
) -> None:
    (tmp_path / "cpuinfo").write_text(told, encoding="utf-8")
    monkeypatch.setattr(circumstances_module, "_CPU_INFO", tmp_path / "cpuinfo")
    assert describe_machine().instructions == instructions


def test_a_board_goes_by_the_name_it_gives_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")
    monkeypatch.setattr(circumstances_module, "_BOARD_MODEL", tmp_path / "model")
    assert describe_machine().processor == "NVIDIA Jetson AGX Orin Developer Kit"


def test_a_machine_without_system_files_is_still_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_CPU_INFO", "_MEMORY_INFO", "_BOARD_MODEL"):
        monkeypatch.setattr(circumstances_module, name, tmp_path / "missing")
    assert describe_machine().processor
    assert describe_machine().memory is None
