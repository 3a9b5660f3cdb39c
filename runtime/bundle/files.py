"""A bundle's files: whether they are those that its manifest names, byte for byte."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from echoexport.runtime.contract.manifest import MANIFEST_NAME, FileEntry, Manifest
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME
from echoexport.runtime.errors import BundleError
from echoexport.runtime.files.aside import list_files
from echoexport.runtime.files.held_file import HeldFile

__all__ = ["check_file", "check_files", "check_hash", "hash_file", "hold_file"]

_BLOCK = 1 << 22


def check_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Hash every file of a bundle, giving each name as it passes.

    Raises:
        BundleError: a file is not what the manifest says, or is in the folder but not
            in the manifest.
    """
    for name in list_files(folder):
        if name not in (MANIFEST_NAME, SIGNATURES_NAME) and name not in manifest.files:
            raise BundleError(f"{folder / name}: not in the manifest; remove it")
    for name in manifest.files:
        check_file(folder, name, manifest=manifest)
        check_hash(folder, name, manifest=manifest)
        yield name


def check_file(folder: Path, name: str, *, manifest: Manifest) -> None:
    """A plain file of the right size, reached through no link.

    Raises:
        BundleError: it is not.
    """
    path = folder
    try:
        for part in Path(name).parts:
            path = path / part
            if path.is_symlink():
                raise BundleError(f"{path}: is a symbolic link; a bundle holds plain files")
        if not path.is_file():
            raise BundleError(f"{path}: missing; build or copy the bundle again")
        wanted = manifest.files[name].bytes
        found = path.stat().st_size
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    if wanted != found:
        raise BundleError(
            f"{path}: {found} bytes, the manifest says {wanted}; build or copy the bundle again"
        )


def check_hash(folder: Path, name: str, *, manifest: Manifest) -> None:
    """A file's sha256 against the manifest's.

    Raises:
        BundleError: they differ, or the file cannot be read.
    """
    try:
        wanted = manifest.files[name].sha256
        found = hash_file(folder / name)
    except OSError as error:
        raise BundleError(f"{folder / name}: cannot be read: {error.strerror or error}") from error
    if wanted != found:
        raise BundleError(
            f"{folder / name}: sha256 is {found}, the manifest says {wanted}; build or copy it "
            "again"
        )


def hold_file(folder: Path, name: str, *, manifest: Manifest) -> HeldFile:
    """A file opened as one that the manifest describes; its hash is still to be found right.

    Raises:
        BundleError: it is missing, a link, no plain file, of another size, or cannot be
            opened.
    """
    wanted = manifest.files[name]
    return HeldFile(folder, name, size=wanted.bytes, sha256=wanted.sha256)


def hash_file(path: Path) -> str:
    """sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe_file(path: Path) -> FileEntry:
    """What a file is."""
    return FileEntry(hash_file(path), path.stat().st_size)


def bring_file(source: Path, target: Path) -> None:
    """A second name where the file system has such, else a copy; what is there gives way."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
