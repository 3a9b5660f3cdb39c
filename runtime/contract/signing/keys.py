"""Ed25519 keys (RFC 8032) in files: PKCS #8 and SubjectPublicKeyInfo as PEM (RFC 8410).

A key file of ours begins with a line that holds the sha256 of the rest: one damaged bit in a
private key is another key, and nothing else would notice. What other tools write has no such
line and is read as well; those tools pass over ours.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from echoexport.runtime.errors import MissingPackageError, OutputError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "ALGORITHM",
    "KEY_PASSPHRASE",
    "SigningKey",
    "identify_key",
    "is_signed_by",
    "read_public_key",
    "read_signing_key",
    "require_cryptography",
    "write_key_pair",
]

ALGORITHM = "ed25519"
KEY_PASSPHRASE = "ECHOEXPORT_KEY_PASSPHRASE"
"""The environment variable with a private key's passphrase."""

PUBLIC_BYTES = 32
_CONTEXT = b"echoexport bundle manifest, signature version 1\0"
_LARGEST = 1 << 14
_BEGIN = b"-----BEGIN "
_SEAL = re.compile(rb"echoexport key, sha256 of what follows: ([0-9a-f]{64})\n")
_PACKAGE = "cryptography"


class SigningKey:
    """A private key that signs manifests; the same manifest always has the same signature."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    def sign(self, form: bytes) -> bytes:
        """64 bytes that vouch for a manifest's canonical form, and for nothing else."""
        return self._private.sign(_CONTEXT + form)


def identify_key(public: bytes) -> str:
    """What a public key is called: its sha256 in hex."""
    return hashlib.sha256(public).hexdigest()


def is_signed_by(public: bytes, signature: bytes, form: bytes) -> bool:
    """Whether a key's owner signed a manifest's canonical form.

    Raises:
        MissingPackageError: the library that computes it is not installed.
    """
    require_cryptography("checking a signature")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _CONTEXT + form)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_signing_key(path: Path, *, ask: Callable[[], str] | None = None) -> SigningKey:
    """A private key of a PEM file; ``ask`` gives the passphrase where no variable does.

    Raises:
        SignatureError: it is damaged, no Ed25519 key, or its passphrase is not known.
        MissingPackageError: the library that reads it is not installed.
    """
    require_cryptography("signing")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _read_pem(path)
    passphrase = _find_passphrase(path, ask) if b"ENCRYPTED" in pem else None
    try:
        key = load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "the passphrase is wrong, or it is damaged" if passphrase else "it is damaged"
        raise SignatureError(
            f"{path}: no private key can be read ({why}); wanted: PEM with PKCS #8, as "
            "'echoexport sign --new-key' writes"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path}: not an Ed25519 key; 'echoexport sign --new-key' makes one")
    return SigningKey(key)


def read_public_key(path: Path) -> bytes:
    """A public key of a file with PEM, or with its 32 bytes and nothing else.

    Raises:
        SignatureError: it is damaged, or no public Ed25519 key.
        MissingPackageError: the library that reads it is not installed.
    """
    content = _read_bytes(path)
    if len(content) == PUBLIC_BYTES:
        return content
    require_cryptography("reading a public key")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read_pem(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(
            f"{path}: no public key can be read; wanted: the .pub file that 'echoexport sign "
            "--new-key' writes, or the key's 32 bytes"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path}: not an Ed25519 key; 'echoexport sign --new-key' makes one")
    return key.public_bytes_raw()


def write_key_pair(path: Path, *, passphrase: str | None = None) -> bytes:
    """A new pair: the private key at ``path``, for its owner alone, the public one at PATH.pub.

    Returns the public key.

    Raises:
        OutputError: either is there already, or cannot be written; neither is then left.
        MissingPackageError: the library that makes it is not installed.
    """
    require_cryptography("making a key")
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    lock: forms.KeySerializationEncryption = forms.NoEncryption()
    if passphrase is not None:
        lock = forms.BestAvailableEncryption(passphrase.encode())
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, lock)
    public = key.public_key().public_bytes(
        forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_name(f"{path.name}.pub")
    _write_new(path, _seal(private), mode=0o600)
    try:
        _write_new(beside, _seal(public), mode=0o644)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return key.public_key().public_bytes_raw()


def require_cryptography(purpose: str) -> None:
    """Raise ``MissingPackageError`` where the library of signatures is not installed."""
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(_PACKAGE, extra="sign", purpose=purpose) from error


def _find_passphrase(path: Path, ask: Callable[[], str] | None) -> bytes:
    found = os.environ.get(KEY_PASSPHRASE)
    if found is None and ask is not None:
        found = ask()
    if not found:
        raise SignatureError(f"{path}: is encrypted; set {KEY_PASSPHRASE} to its passphrase")
    return found.encode()


def _read_pem(path: Path) -> bytes:
    """The PEM of a key file, which is what its first line says where there is such a line."""
    content = _read_bytes(path)
    if content.startswith(_BEGIN):
        return content
    seal = _SEAL.match(content)
    rest = content[seal.end() :] if seal else b""
    if seal is None or hashlib.sha256(rest).hexdigest().encode() != seal[1]:
        raise SignatureError(f"{path}: not a key in PEM, or a damaged one; copy it again")
    return rest


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise SignatureError(
            f"{path}: the key cannot be read: {error.strerror or error}; 'echoexport sign "
            "--new-key' makes one"
        ) from error
    if len(content) > _LARGEST:
        raise SignatureError(f"{path}: larger than any key; name a key file")
    return content


def _seal(pem: bytes) -> bytes:
    digest = hashlib.sha256(pem).hexdigest().encode()
    return b"echoexport key, sha256 of what follows: " + digest + b"\n" + pem


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise OutputError(f"{path}: is there already; keys are not replaced: name another") from (
            error
        )
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
