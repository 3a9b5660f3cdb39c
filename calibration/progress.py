"""What a long quantization has found so far, kept on disk for the build after an interrupt."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import shutil
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.files.aside import replaced_file

__all__ = ["NO_PROGRESS", "ProgressFolder", "make_key", "prune_progress"]

_DIGITS = 64  # of a sha256 in hex, which every file begins with
_DAYS = 30
_ENGINES = ("onnxruntime", "openvino")


class ProgressFolder:
    """A folder of small files that know their own sha256.

    Each is written aside and renamed, with its hash in its first line. ``folder`` None
    keeps and finds nothing. A folder that cannot be written is no reason to fail; a
    file that is damaged is left alone with a ``RuntimeWarning``, and what it held is
    found anew.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, name: str) -> ProgressFolder:
        """A folder within it."""
        return ProgressFolder(None if self.folder is None else self.folder / name)

    def read(self, name: str) -> Any:
        """What was written under a name as JSON.

        None where there is nothing, or nothing to be trusted.
        """
        content = self._load(f"{name}.json")
        return None if content is None else json.loads(content)

    def write(self, name: str, value: Any) -> None:
        """Keep a value as JSON, in place of the one before."""
        self._store(f"{name}.json", json.dumps(value).encode())

    def read_arrays(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays that were written under a name; None as for ``read``."""
        content = self._load(f"{name}.npz")
        if content is None:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    def write_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays, in place of those before."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        self._store(f"{name}.npz", buffer.getvalue())

    def remove(self) -> None:
        """Forget all of it."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, name: str) -> bytes | None:
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            digest, _, content = path.read_bytes().partition(b"\n")
        except OSError:
            return None
        if len(digest) == _DIGITS and hashlib.sha256(content).hexdigest().encode() == digest:
            return content
        warnings.warn(
            f"{path}: damaged, so what an earlier build found is found anew",
            RuntimeWarning,
            stacklevel=3,
        )
        return None

    def _store(self, name: str, content: bytes) -> None:
        if self.folder is None:
            return
        with suppress(OSError), replaced_file(self.folder / name, parents=True) as aside:
            aside.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


NO_PROGRESS = ProgressFolder(None)
"""Keeps nothing."""


def make_key(*parts: str) -> str:
    """24 hex digits of all that a result depends on.

    That is ``parts``, our release and code, and the engines' releases.
    """
    texts = [*parts, importlib.metadata.version("echoexport"), _hash_own_code()]
    texts += [f"{name} {_find_version(name)}" for name in _ENGINES]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def prune_progress(folder: Path) -> None:
    """Remove what no build has touched for a month."""
    with suppress(OSError):
        for path in folder.iterdir():
            if (
                time.time() - max(part.stat().st_mtime for part in (path, *path.iterdir()))
                > _DAYS * 86_400
            ):
                shutil.rmtree(path, ignore_errors=True)


@cache
def _hash_own_code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in (".py", ".yaml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _find_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
