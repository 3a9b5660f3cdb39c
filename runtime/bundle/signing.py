"""A bundle signed, and who signed it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoexport.runtime.bundle.files import check_files
from echoexport.runtime.contract.checksum import compute_checksum
from echoexport.runtime.contract.manifest import MANIFEST_NAME, read_manifest
from echoexport.runtime.contract.signing.approval import require_signed
from echoexport.runtime.contract.signing.keys import SigningKey
from echoexport.runtime.contract.signing.signatures import add_signature
from echoexport.runtime.contract.signing.trust import TrustedKey, find_trust
from echoexport.runtime.errors import BundleError
from echoexport.runtime.files.json_file import read_json

__all__ = ["SignedBundle", "find_signers", "read_digest", "sign_bundle"]


@dataclass(frozen=True)
class SignedBundle:
    """What signing came to."""

    manifest: str
    """Sha256 of the manifest's canonical form, by which a bundle is revoked."""
    signatures: int
    """How many keys have signed it by now."""
    dropped: int
    """How many signatures of an earlier manifest went."""


def sign_bundle(folder: Path, key: SigningKey) -> SignedBundle:
    """Hash every file of a bundle and sign its manifest; a signature of the same key gives way.

    Raises:
        BundleError: a file is not what the manifest says, or is in the folder but not in
            the manifest. SignatureError: the signatures that are there are damaged.
            OutputError: the signature cannot be written.
    """
    manifest = read_manifest(folder, to_run=False)
    data = _read_data(folder)
    for _ in check_files(folder, manifest):
        pass
    if read_manifest(folder, to_run=False) != manifest:
        raise BundleError(f"{folder}: its manifest changed while it was signed; sign it again")
    count, dropped = add_signature(folder / MANIFEST_NAME, data, key)
    return SignedBundle(compute_checksum(data), count, dropped)


def read_digest(folder: Path) -> str:
    """Sha256 of a manifest's canonical form.

    Raises:
        BundleError: it is no manifest.
    """
    read_manifest(folder, to_run=False)
    return compute_checksum(_read_data(folder))


def find_signers(folder: Path, *, trust: Path | None = None) -> tuple[TrustedKey, ...]:
    """The trusted keys that signed a bundle; none where no trust list is named.

    Raises:
        BundleError: as ``read_manifest``.
    """
    trusted = find_trust(trust)
    if trusted is None:
        return ()
    manifest = read_manifest(folder, trust=trust)
    path = folder / MANIFEST_NAME
    return require_signed(path, _read_data(folder), trusted, compiled=manifest.compiled)


def _read_data(folder: Path) -> Any:
    path = folder / MANIFEST_NAME
    try:
        return read_json(path, strict=True)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: changed while it was read: {error}") from error
