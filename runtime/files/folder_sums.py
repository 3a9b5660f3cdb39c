"""Check sums of what a library keeps in a folder of its own: damaged files are not read.

For a library that opens its cache by itself; where we read the files, ``sealed_file`` does.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from echoexport.runtime.files.sealed_file import read_sealed, write_sealed

__all__ = ["drop_unproved", "prove_files"]

_SUMS = "checksums"
_KEY = "checksums of a folder"
_BLOCK = 1 << 20


def drop_unproved(folder: Path) -> tuple[str, ...]:
    """Remove the files that are not as :func:`prove_files` met them, and name them."""
    sums = _read_sums(folder)
    dropped = [name for name, found in _hash_files(folder).items() if sums.get(name) != found]
    for name in dropped:
        with suppress(OSError):
            (folder / name).unlink()
    return tuple(dropped)


def prove_files(folder: Path) -> None:
    """Write down what the folder's files are; one that cannot be written proves nothing."""
    content = json.dumps(_hash_files(folder)).encode()
    with suppress(OSError):
        write_sealed(folder / _SUMS, content, key=_KEY)


def _read_sums(folder: Path) -> dict[str, str]:
    with suppress(OSError):
        content = read_sealed(folder / _SUMS, key=_KEY)
        if content is not None:
            return dict(json.loads(bytes(content)))
    return {}


def _hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file by its name; "" of one that cannot be read, which is none's."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SUMS)
    return {str(path.relative_to(folder)): _hash_file(path) for path in files}


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with suppress(OSError), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        return digest.hexdigest()
    return ""
