"""Signatures beside a manifest, and whether somebody trusted made one.

What is signed is the manifest's canonical form, which holds the sha256 of every other file,
behind a prefix that says what it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from echoexport.runtime.contract.checksum import encode_canonical
from echoexport.runtime.contract.signing.keys import (
    ALGORITHM,
    SigningKey,
    identify_key,
    is_signed_by,
    require_cryptography,
)
from echoexport.runtime.contract.signing.sealed_json import read_sealed_json, write_sealed_json
from echoexport.runtime.contract.signing.trust import TrustedKey, TrustList
from echoexport.runtime.errors import SignatureError

__all__ = [
    "SIGNATURES_NAME",
    "Signature",
    "SignatureFile",
    "Vouching",
    "add_signature",
    "find_vouching",
    "read_signatures",
]

SIGNATURES_NAME = "signatures.json"
"""The file beside the manifest, which no manifest lists."""

_FORM = "echoexport-signatures"
_MOST = 64
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True)
class Signature:
    """One key's."""

    key: str
    """Sha256 of the public key, in hex."""
    algorithm: str
    """``ALGORITHM``."""
    signature: str
    """64 bytes in hex."""
    created: str
    """When it was made, UTC, ISO 8601, as the signer's clock said: nothing rests on it."""


@dataclass(frozen=True)
class SignatureFile:
    """Those of one manifest, each key's once."""

    manifest: str
    """Sha256 of the canonical form that was signed."""
    signatures: tuple[Signature, ...]


@dataclass(frozen=True)
class Vouching:
    """What a signature must be judged by."""

    path: Path
    """The manifest's file."""
    form: bytes
    """Its canonical form."""
    trust_path: Path
    """The trust list's file."""
    trust: TrustList
    now: datetime
    compiled: bool
    """Whether the manifest is of compiled engines."""

    def find_signers(self) -> tuple[TrustedKey, ...]:
        """The trusted keys that signed it, one or more.

        Raises:
            SignatureError: it is revoked or unsigned, nobody trusted signed it, or a
                trusted key's signature is of something else.
        """
        digest = hashlib.sha256(self.form).hexdigest()
        why = self.trust.revoked_bundles.get(digest)
        if why is not None:
            raise SignatureError(
                f"{self.path}: this bundle is revoked by {self.trust_path} ({why}); get the one "
                "that replaces it"
            )
        place = self.path.with_name(SIGNATURES_NAME)
        found = read_signatures(place)
        if found is None:
            raise SignatureError(
                f"{self.path.parent}: is not signed: there is no {SIGNATURES_NAME}; sign it "
                "('echoexport sign'), or get a signed one"
            )
        if found.manifest != digest:
            raise SignatureError(
                f"{place}: of another bundle: signed was the manifest {found.manifest}, this one "
                f"is {digest}; get the bundle again, or sign it anew"
            )
        faults = list[str]()
        signers = list[TrustedKey]()
        for one in found.signatures:
            key, fault = self._judge(one, place)
            if key is not None and fault is None:
                signers.append(key)
            else:
                faults.append(fault or "")
        if not signers:
            raise SignatureError(
                f"{place}: no signature that {self.trust_path} trusts: "
                f"{'; '.join(faults) or 'it holds none'}"
            )
        return tuple(signers)

    def _judge(self, one: Signature, place: Path) -> tuple[TrustedKey | None, str | None]:
        """The key, and why it does not count; a trusted key's wrong signature ends it."""
        named = f"key {one.key[:16]}"
        key = next((key for key in self.trust.keys if key.id == one.key), None)
        if one.key in self.trust.revoked_keys:
            reason = self.trust.revoked_keys[one.key]
            return key, f"{named} is revoked ({reason}); have the bundle signed by another key"
        if key is None:
            return None, f"{named} is unknown; 'echoexport trust --add' adds a key"
        named = f"key {key.name!r} ({one.key[:16]})"
        if (fault := key.find_fault(self.now)) is not None:
            return key, f"{named} {fault}"
        if key.compiled_only and not self.compiled:
            return key, f"{named} vouches for compiled bundles alone"
        if not is_signed_by(bytes.fromhex(key.key), bytes.fromhex(one.signature), self.form):
            raise SignatureError(
                f"{place}: the signature by {named} is not of this manifest: it was forged or "
                "damaged; get the bundle again"
            )
        return key, None


def find_vouching(
    path: Path,
    data: Mapping[str, Any],
    trusted: tuple[Path, TrustList],
    *,
    compiled: bool,
) -> tuple[TrustedKey, ...]:
    """The trusted keys that signed a manifest, whose JSON reads ``data``; one or more.

    Raises:
        SignatureError: see :meth:`Vouching.find_signers`.
        MissingPackageError: the library that checks signatures is not installed.
    """
    require_cryptography("opening signed bundles alone")
    place, trust = trusted
    now = datetime.now(timezone.utc)
    form = encode_canonical(data)
    return Vouching(path, form, place, trust, now, compiled).find_signers()


def read_signatures(path: Path) -> SignatureFile | None:
    """The signatures in a file, None where there is none.

    Raises:
        SignatureError: it cannot be read or is damaged.
    """
    remedy = "get the bundle again, or remove the file and sign anew"
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or not path.is_file():
        raise SignatureError(f"{path}: is no plain file; {remedy}")
    found = read_sealed_json(path, SignatureFile, form=_FORM, remedy=remedy)
    keys = [one.key for one in found.signatures]
    if len(keys) > _MOST or len(set(keys)) < len(keys):
        raise SignatureError(f"{path}: more than {_MOST} signatures, or a key's twice; {remedy}")
    for one in found.signatures:
        if one.algorithm != ALGORITHM or not _SIGNATURE.fullmatch(one.signature):
            raise SignatureError(
                f"{path}: key {one.key[:16]}: {one.algorithm[:20]!r} is no signature of "
                f"{ALGORITHM} in hex; {remedy}"
            )
    return found


def add_signature(path: Path, data: Mapping[str, Any], key: SigningKey) -> tuple[int, int]:
    """Sign the manifest at ``path``, whose JSON reads ``data``; the key's older one gives way.

    Signatures of another manifest are dropped. Returns how many there are now, and how
    many were dropped.

    Raises:
        SignatureError: the signatures that are there are damaged, or too many.
        OutputError: they cannot be written.
    """
    place = path.with_name(SIGNATURES_NAME)
    form = encode_canonical(data)
    digest = hashlib.sha256(form).hexdigest()
    found = read_signatures(place)
    there = () if found is None else found.signatures
    kept = there if found is not None and found.manifest == digest else ()
    name = identify_key(key.public)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    new = Signature(name, ALGORITHM, key.sign(form).hex(), now)
    others = tuple(one for one in kept if one.key != name)
    if len(others) >= _MOST:
        raise SignatureError(f"{place}: holds {_MOST} signatures, the most there may be")
    # beside the bundle: a file that a crash leaves within it would be one that nobody lists
    write_sealed_json(place, SignatureFile(digest, (*others, new)), form=_FORM, beside=path.parent)
    return len(others) + 1, len(there) - len(kept)
