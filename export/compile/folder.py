"""Where a compiled bundle goes, and the last good one that is kept beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from echoexport.runtime.bundle.files import check_files
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.manifest import MANIFEST_NAME, Manifest, read_manifest
from echoexport.runtime.errors import BackendError, EchoExportError, OutputError, SettingError
from echoexport.runtime.files.aside import mend_place, take_place


def previous_of(output: Path) -> Path:
    """Where the compiled bundle is kept that was replaced last."""
    return output.with_name(f"{output.name}.previous")


def require_replaceable(output: Path, bundle: Path) -> None:
    """Refuse an output that is or lies within the portable bundle, or is another portable one.

    Raises:
        SettingError, OutputError: it is.
    """
    if output == Path(os.path.realpath(bundle)):
        raise SettingError(
            f"{output}: is the bundle itself; name another folder for the compiled one"
        )
    if Path(os.path.realpath(bundle)) in output.parents:
        raise SettingError(
            f"{output}: lies within the bundle, which would not verify any more; name a folder "
            "beside it"
        )
    if (output / MANIFEST_NAME).is_file() and read_compiled(output) is None:
        raise OutputError(
            f"{output}: holds no compiled bundle of this release; name a new folder, or remove it"
        )


def read_compiled(folder: Path) -> Manifest | None:
    """The manifest of a compiled bundle, None where there is none that can be read."""
    try:
        manifest = read_manifest(folder, to_run=False)
    except EchoExportError:
        return None
    return None if manifest.compiled is None else manifest


def is_worth_keeping(output: Path, keys: Mapping[str, str]) -> bool:
    """Whether the compiled bundle at ``output`` is to be kept when one of these engines
    takes its place: it is whole, and its engines are others."""
    manifest = read_compiled(output)
    if manifest is None or manifest.compiled is None:
        return False
    if {name: engine.key for name, engine in manifest.compiled.engines.items()} == keys:
        return False
    try:
        return all(True for _ in check_files(output, manifest))
    except EchoExportError:
        return False


def roll_back(output: Path) -> Manifest:
    """Put the last good compiled bundle back, once it proved itself here; the two change places.

    Raises:
        OutputError: none is kept, or the folders cannot be renamed. BundleError,
            BackendError: it is spoilt, or not of this machine and library, or fails a
            self-test; nothing has then changed.
    """
    output = Path(os.path.realpath(output))
    previous = previous_of(output)
    mend_place(output, keep=previous)
    if not (previous / MANIFEST_NAME).is_file():
        raise OutputError(
            f"{previous}: no such compiled bundle; none was replaced here yet, so nothing is "
            "rolled back"
        )
    if output.exists() and read_compiled(output) is None:
        raise OutputError(
            f"{output}: holds no compiled bundle of this release; nothing is rolled back"
        )
    with open_bundle(previous) as opened:
        manifest = opened.manifest
        if manifest.compiled is None:
            raise OutputError(f"{previous}: not a compiled bundle; nothing is rolled back")
        _prove(opened)
    _swap(output, previous)
    return manifest


def _prove(opened: Bundle) -> None:
    """Hash the files and run every self-test, one network in memory at a time."""
    for _ in opened.check_files():
        pass
    for name in opened.manifest.networks:
        result = opened.self_test(name)
        opened.close_network(name)
        if not result.passed:
            raise BackendError(
                f"{opened.folder}: {name}: output {result.output!r} is off by "
                f"{result.error:.2g} of its maximum, {result.tolerance:.2g} is allowed: "
                "not rolled back"
            )


def _swap(output: Path, previous: Path) -> None:
    try:
        take_place(previous, output, keep=previous)
    except OSError as error:
        raise OutputError(f"{output}: cannot be rolled back: {error.strerror or error}") from error
