"""Key files, and what a signature is of."""

from __future__ import annotations

import builtins
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.signing import KeyPair

from echoexport.runtime.contract.signing.keys import (
    KEY_PASSPHRASE,
    is_signed_by,
    read_public_key,
    read_signing_key,
    write_key_pair,
)
from echoexport.runtime.errors import MissingPackageError, OutputError, SignatureError


def test_a_key_signs_the_same_bytes_alike_and_others_otherwise(release: KeyPair) -> None:
    first = release.private.sign(b"manifest")
    assert release.private.sign(b"manifest") == first
    assert is_signed_by(release.public, first, b"manifest")
    assert not is_signed_by(release.public, first, b"manifesto")


def test_a_signature_of_bare_bytes_is_none_of_a_manifest(release: KeyPair) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = release.path.read_bytes().split(b"\n", 1)[1]
    bare: Any = load_pem_private_key(pem, password=None)
    assert not is_signed_by(release.public, bare.sign(b"manifest"), b"manifest")


def test_a_private_key_is_its_owners_alone_and_is_never_replaced(release: KeyPair) -> None:
    assert stat.S_IMODE(release.path.stat().st_mode) == 0o600
    before = release.path.read_bytes()
    with pytest.raises(OutputError, match="is there already"):
        write_key_pair(release.path)
    assert release.path.read_bytes() == before


def test_a_pair_of_which_one_name_is_taken_is_not_made_by_half(
    make_key: Callable[..., KeyPair], tmp_path: Path
) -> None:
    (tmp_path / "half.pem.pub").write_text("taken")
    with pytest.raises(OutputError, match=r"half\.pem\.pub"):
        make_key("half")
    assert not (tmp_path / "half.pem").exists()


def test_public_keys_are_read_as_pem_and_as_their_bytes(release: KeyPair, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(release.public)
    assert read_public_key(raw) == read_public_key(Path(f"{release.path}.pub")) == release.public


def test_a_key_of_another_tool_needs_no_line_of_ours(release: KeyPair, tmp_path: Path) -> None:
    plain = tmp_path / "plain.pem"
    plain.write_bytes(release.path.read_bytes().split(b"\n", 1)[1])
    assert read_signing_key(plain).public == release.public


def test_an_encrypted_key_wants_its_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    path = tmp_path / "locked.pem"
    public = write_key_pair(path, passphrase="correct horse")
    with pytest.raises(SignatureError, match=KEY_PASSPHRASE):
        read_signing_key(path)
    assert read_signing_key(path, ask=lambda: "correct horse").public == public
    monkeypatch.setenv(KEY_PASSPHRASE, "wrong")
    with pytest.raises(SignatureError, match="the passphrase is wrong"):
        read_signing_key(path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    other = X25519PrivateKey.generate()
    path = tmp_path / "other.pem"
    path.write_bytes(
        other.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    )
    with pytest.raises(SignatureError, match="not an Ed25519 key"):
        read_signing_key(path)


def test_without_the_library_the_extra_is_named(
    release: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "cryptography":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(MissingPackageError, match=r"echoexport\[sign\]"):
        read_signing_key(release.path)
