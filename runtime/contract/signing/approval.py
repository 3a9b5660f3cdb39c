"""Whether a bundle may run: signed, and where it is compiled, made of one that is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echoexport.runtime.contract.compiled import SOURCE_MANIFEST, CompiledEngines
from echoexport.runtime.contract.signing.signatures import find_vouching
from echoexport.runtime.contract.signing.trust import TrustedKey, TrustList
from echoexport.runtime.errors import SignatureError
from echoexport.runtime.files.json_file import parse_json

__all__ = ["require_signed"]


def require_signed(
    path: Path,
    data: Mapping[str, Any],
    trusted: tuple[Path, TrustList],
    *,
    compiled: CompiledEngines | None,
) -> tuple[TrustedKey, ...]:
    """The trusted keys that signed the manifest at ``path``, whose JSON reads ``data``.

    Engines in a library's format say nothing of what they were made of, so a compiled
    bundle carries the manifest of its source with its signatures, and both must hold: a
    source that is revoked takes its engines with it.

    Raises:
        SignatureError: either does not; says which file, which key, and what to do.
        MissingPackageError: the library that checks signatures is not installed.
    """
    if compiled is not None:
        _require_source(path.parent / SOURCE_MANIFEST, compiled, trusted)
    return find_vouching(path, data, trusted, compiled=compiled is not None)


def _require_source(path: Path, compiled: CompiledEngines, trusted: tuple[Path, TrustList]) -> None:
    remedy = f"compile it again from the signed bundle: echoexport compile {compiled.portable}"
    try:
        if path.is_symlink() or not path.is_file():  # a pipe would be waited for
            raise FileNotFoundError
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != compiled.source:
            raise ValueError("not the manifest that the engines were compiled of")
        data = parse_json(content, strict=True)
        if not isinstance(data, dict) or data.get("compiled") is not None:
            raise ValueError("not the manifest of a portable bundle")
    except FileNotFoundError as error:
        raise SignatureError(
            f"{path.parent.parent}: carries no signature of the bundle it was compiled of; {remedy}"
        ) from error
    except (OSError, ValueError) as error:
        raise SignatureError(f"{path}: cannot be used: {error}; {remedy}") from error
    find_vouching(path, data, trusted, compiled=False)
