"""Reading a machine's files, packages and tools: what cannot be read is None."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from echoexport.runtime.device import Device
from echoexport.runtime.device.reading import package_version, run_program


def test_a_removed_package_is_not_installed(
    write_machine: Callable[[dict[str, str]], Path], read_files: Callable[[Path], Device]
) -> None:
    status = "Package: libnvinfer10\nStatus: deinstall ok config-files\nVersion: 10.3.0.30-1\n"
    assert read_files(write_machine({"var/lib/dpkg/status": status})).tensorrt is None


def test_a_folder_where_a_file_should_be_is_not_read(
    tmp_path: Path, read_files: Callable[[Path], Device]
) -> None:
    (tmp_path / "etc" / "nv_tegra_release").mkdir(parents=True)
    assert read_files(tmp_path).kind == "cpu"


def test_a_command_that_is_missing_or_fails_answers_nothing() -> None:
    assert run_program(("no-such-command-of-ours",)) is None
    assert run_program(("false",)) is None
    assert run_program(("uname", "-s")) == "Linux\n"


def test_a_distribution_that_is_not_installed_has_no_version() -> None:
    assert package_version("no-such-distribution-of-ours") is None
    assert package_version("numpy") is not None
