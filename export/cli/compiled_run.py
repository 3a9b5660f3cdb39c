"""Portable bundles whose own backend runs nothing but compiled engines.

What ``run`` and ``build`` do about it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from echoexport.export.cli.options import warn
from echoexport.runtime.bundle.choice import find_portable, needs_compiling
from echoexport.runtime.errors import BackendError, TargetMismatchError

if TYPE_CHECKING:
    from echoexport.targets.spec import TargetSpec


def choose_bundle(bundle: Path, *, backend: str | None, compute: str) -> tuple[Path, str | None]:
    """The bundle and the backend to run.

    Those given, or a compiled bundle in place of a portable one that needs it.

    The compiled one beside it is taken if it was made of this very bundle. Else a
    terminal is asked whether to compile now; without one, or without consent, a
    portable backend of the bundle takes over, with a warning.

    Raises:
        BackendError: there is none; names the command that compiles.
    """
    from echoexport.runtime.backends import load_backend
    from echoexport.runtime.contract.manifest import read_manifest

    manifest = read_manifest(bundle)
    wanted = backend or next(iter(manifest.backends), "")
    if manifest.compiled is not None or not needs_compiling(wanted):
        return bundle, backend
    from echoexport.export.compile.bundle import default_output  # not for those above

    if load_backend(wanted).unavailable() is not None:
        return bundle, backend  # opening it says why, or takes the next one
    output = default_output(bundle, wanted)
    if is_compiled_from(output, bundle):
        click.echo(f"{output}: running these engines", err=True)
        return output, None
    if _asks_for_it(
        f"{bundle}: backend {wanted!r} needs engines, which takes minutes once. Compile now?"
    ):
        return compile_first(bundle, wanted, compute=compute, quiet=True), None
    named = f" --backend {wanted}" if backend is not None else ""
    command = f"echoexport compile {bundle}{named}"
    line = (
        f"{bundle}: backend {wanted!r} needs engines that are compiled on this machine: {command}"
    )
    fallback = None if backend is not None else find_portable(manifest)
    if fallback is None:
        raise BackendError(line)
    warn(f"{line}; running on {fallback!r} instead, much more slowly")
    return bundle, fallback


def is_compiled_from(output: Path, bundle: Path) -> bool:
    """Whether a folder holds a compiled bundle that was made of this portable one as it is now."""
    from echoexport.export.compile.folder import read_compiled
    from echoexport.runtime.bundle.files import hash_file
    from echoexport.runtime.contract.manifest import MANIFEST_NAME

    manifest = read_compiled(output)
    compiled = None if manifest is None else manifest.compiled
    return compiled is not None and compiled.source == hash_file(bundle / MANIFEST_NAME)


def compile_built(bundle: Path, target: TargetSpec) -> bool:
    """Compile a bundle that was just built, where this machine is its target and needs engines.

    Whether that is so.

    Raises:
        BackendError: a network does not build, or fails its self-test; the portable
            bundle stays.
    """
    from echoexport.runtime.backends import load_backend
    from echoexport.runtime.device import detect_device, require_target

    backend = target.backends.default
    if not needs_compiling(backend) or load_backend(backend).unavailable() is not None:
        return False
    try:
        require_target(detect_device(), target)
    except TargetMismatchError:
        return False
    compile_first(bundle, backend, compute="", quiet=False)
    return True


def compile_first(bundle: Path, backend: str, *, compute: str, quiet: bool) -> Path:
    """Compile with the settings of the bundle's target; where the result is.

    ``quiet`` leaves stdout alone.
    """
    from echoexport.export.cli.compile import USUAL, compile_now, read_compile_settings

    settings = read_compile_settings(bundle, {**USUAL, "backend": backend, "compute": compute})
    output = compile_now(bundle, None, settings=settings, quiet=quiet).output
    if output is None:
        raise BackendError(f"{bundle}: not every network was compiled")
    return output


def _asks_for_it(question: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm(question, default=True, err=True)
