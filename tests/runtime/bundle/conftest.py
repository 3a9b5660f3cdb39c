"""Fixtures of the bundle's tests: files that are changed together with their manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.manifests import edit_manifest

from echoexport.runtime.bundle.files import hash_file


@pytest.fixture(scope="session")
def rewrite() -> Callable[[Path, str, bytes], None]:
    """A function that changes a bundle's file and makes the manifest agree with it."""

    def write(folder: Path, name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        entry = {"sha256": hash_file(folder / name), "bytes": len(content)}
        edit_manifest(folder, lambda data: data["files"].update({name: entry}))

    return write
