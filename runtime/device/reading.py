"""Reading a machine's files, packages and tools.

What cannot be read is None, and nothing raises.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RunCommand = Callable[[Sequence[str]], "str | None"]
"""Runs a command: its output, or None where it is missing, fails or hangs."""
Package = Callable[[str], "str | None"]
"""Version of an installed Python distribution, or None."""

_LARGEST_FILE = 16 * 2**20
"""Bytes; dpkg's status file of a full JetPack has about 3 MB."""
_SECONDS = 10.0


@dataclass(frozen=True)
class Found:
    """A value and the file, package or command that it was read from."""

    value: str
    source: str


@dataclass(frozen=True)
class Machine:
    """Where a machine is read from.

    Files below ``root``, commands, Python packages, environment variables.
    """

    root: Path
    run: RunCommand
    package: Package
    environment: Mapping[str, str]

    def read(self, path: str) -> str | None:
        """Text of a file of the machine.

        The NUL bytes that a device tree's strings end with are left out.
        """
        try:
            with (self.root / path.lstrip("/")).open("rb") as file:
                content = file.read(_LARGEST_FILE)
        except (OSError, ValueError):
            return None
        return content.decode("utf-8", errors="replace").rstrip("\0\n ").replace("\0", "\n")

    def list(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where it cannot be read."""
        try:
            return sorted(entry.name for entry in (self.root / folder.lstrip("/")).iterdir())
        except (OSError, ValueError):
            return []

    def debian(self, *names: str) -> Found | None:
        """Version of the first of these Debian packages that is installed.

        Epoch and revision are cut off: "10.3.0.30-1+cuda12.5" is 10.3.0.30.
        """
        installed = _installed(self.read("/var/lib/dpkg/status") or "", names)
        for name in names:
            if name in installed:
                version = re.sub(r"^\d+:|[-+].*$", "", installed[name])
                return Found(version, f"Debian package {name} {installed[name]}")
        return None

    def memory(self) -> tuple[int | None, int | None]:
        """Bytes of the machine's memory, and how many a new process may have.

        Linux's MemTotal and MemAvailable.
        """
        table = self.read("/proc/meminfo") or ""
        sizes = {
            key: int(size) * 1024
            for key, size in re.findall(r"^(\w+):\s*(\d+) kB", table, re.MULTILINE)
        }
        return sizes.get("MemTotal"), sizes.get("MemAvailable")


def run_program(command: Sequence[str]) -> str | None:
    """Output of a command on this machine.

    None where it is missing, fails, or takes more than ten seconds.
    """
    path = shutil.which(command[0])
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *command[1:]],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def package_version(name: str) -> str | None:
    """Version of a Python distribution that this interpreter would import."""
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError, OSError):
        return None


def _installed(status: str, names: Sequence[str]) -> dict[str, str]:
    """Versions by name of those of ``names`` that dpkg's status file calls installed."""
    found: dict[str, str] = {}
    for paragraph in re.split(r"\n\s*\n", status):
        name = re.match(r"\s*Package: (\S+)", paragraph)
        if name is None or name[1] not in names or " ok installed" not in paragraph:
            continue
        if version := re.search(r"^Version: (\S+)", paragraph, re.MULTILINE):
            found[name[1]] = version[1]
    return found
