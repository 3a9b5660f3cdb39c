"""Fixtures of the device's tests: machines that are folders of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.runtime.device import Device, detect_device


@pytest.fixture
def write_machine(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """A function that writes files by name into a folder, and gives that folder."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text.encode())
        return tmp_path

    return write


@pytest.fixture(scope="session")
def read_files() -> Callable[[Path], Device]:
    """A function that reads a machine of files alone.

    No command answers, nothing is installed.
    """

    def read(root: Path) -> Device:
        return detect_device(root, lambda command: None, package=lambda name: None, environment={})

    return read
