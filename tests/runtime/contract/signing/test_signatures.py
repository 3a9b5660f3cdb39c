"""Whose signatures open a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.signing import KeyPair

from echoexport.runtime.bundle.signing import find_signers, read_digest, sign_bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME, read_signatures
from echoexport.runtime.contract.signing.trust import TrustList, write_trust
from echoexport.runtime.errors import SignatureError

OVER = "2020-01-01"


def read_keys(bundle: Path) -> list[str]:
    found = read_signatures(bundle / SIGNATURES_NAME)
    assert found is not None
    return [one.key for one in found.signatures]


def test_a_signed_bundle_opens_and_says_by_whom(signed_bundle: Path, trust_file: Path) -> None:
    assert read_manifest(signed_bundle, trust=trust_file) == read_manifest(signed_bundle)
    assert [key.name for key in find_signers(signed_bundle, trust=trust_file)] == ["release"]


def test_an_unsigned_bundle_does_not_open(null_bundle: Path, trust_file: Path) -> None:
    with pytest.raises(SignatureError, match="is not signed"):
        read_manifest(null_bundle, trust=trust_file)


def test_another_keys_signature_does_not_open_it(
    null_bundle: Path, trust_file: Path, make_key: Callable[..., KeyPair]
) -> None:
    other = make_key("other")
    sign_bundle(null_bundle, other.private)
    with pytest.raises(SignatureError, match=f"key {other.id[:16]} is unknown"):
        read_manifest(null_bundle, trust=trust_file)


def test_a_second_key_adds_and_the_same_key_replaces(
    signed_bundle: Path, release: KeyPair, make_key: Callable[..., KeyPair]
) -> None:
    other = make_key("other")
    before = read_signatures(signed_bundle / SIGNATURES_NAME)
    assert sign_bundle(signed_bundle, other.private).signatures == 2
    assert sign_bundle(signed_bundle, release.private).signatures == 2
    assert read_keys(signed_bundle) == [other.id, release.id]
    after = read_signatures(signed_bundle / SIGNATURES_NAME)
    assert before is not None
    assert after is not None
    assert after.signatures[1].signature == before.signatures[0].signature


def test_rotation_goes_by_two_keys_until_the_old_one_expires(
    signed_bundle: Path, release: KeyPair, make_key: Callable[..., KeyPair], tmp_path: Path
) -> None:
    newer = make_key("newer")
    both = tmp_path / "both.json"
    write_trust(both, TrustList((release.trusted("old"), newer.trusted("new"))))
    read_manifest(signed_bundle, trust=both)
    over = tmp_path / "over.json"
    write_trust(over, TrustList((release.trusted("old", valid_until=OVER), newer.trusted("new"))))
    with pytest.raises(SignatureError, match=rf"key 'old' \(\w+\) expired on {OVER}"):
        read_manifest(signed_bundle, trust=over)
    sign_bundle(signed_bundle, newer.private)
    assert [key.name for key in find_signers(signed_bundle, trust=over)] == ["new"]
    assert [key.name for key in find_signers(signed_bundle, trust=both)] == ["old", "new"]


def test_a_revoked_key_opens_nothing(signed_bundle: Path, release: KeyPair, tmp_path: Path) -> None:
    path = tmp_path / "revoked.json"
    write_trust(path, TrustList((release.trusted(),), revoked_keys={release.id: "stolen"}))
    with pytest.raises(SignatureError, match=r"is revoked \(stolen\)"):
        read_manifest(signed_bundle, trust=path)


def test_a_revoked_bundle_does_not_open_whoever_signed_it(
    signed_bundle: Path, release: KeyPair, tmp_path: Path
) -> None:
    path = tmp_path / "revoked.json"
    gone = {read_digest(signed_bundle): "draws a third eye"}
    write_trust(path, TrustList((release.trusted(),), revoked_bundles=gone))
    with pytest.raises(SignatureError, match=r"revoked by .*revoked\.json \(draws a third eye\)"):
        read_manifest(signed_bundle, trust=path)


def test_a_boards_key_signs_no_portable_bundle(
    signed_bundle: Path, release: KeyPair, tmp_path: Path
) -> None:
    path = tmp_path / "board.json"
    write_trust(path, TrustList((release.trusted("board", compiled_only=True),)))
    with pytest.raises(SignatureError, match="vouches for compiled bundles alone"):
        read_manifest(signed_bundle, trust=path)


def test_the_signature_of_another_bundle_is_none_of_this_one(
    signed_bundle: Path, make_null_bundle: Callable[..., Path], trust_file: Path
) -> None:
    other = make_null_bundle("other", frames=8)
    (other / SIGNATURES_NAME).write_bytes((signed_bundle / SIGNATURES_NAME).read_bytes())
    with pytest.raises(SignatureError, match="of another bundle"):
        read_manifest(other, trust=trust_file)


def test_a_forged_signature_ends_it_even_beside_a_good_one(
    signed_bundle: Path, release: KeyPair, make_key: Callable[..., KeyPair], tmp_path: Path
) -> None:
    from echoexport.runtime.contract.signing.sealed_json import write_sealed_json
    from echoexport.runtime.contract.signing.signatures import Signature, SignatureFile

    newer = make_key("newer")
    path = tmp_path / "both.json"
    write_trust(path, TrustList((release.trusted("old"), newer.trusted("new"))))
    place = signed_bundle / SIGNATURES_NAME
    found = read_signatures(place)
    assert found is not None
    forged = Signature(newer.id, "ed25519", "00" * 64, "2026-01-01T00:00:00+00:00")
    both = SignatureFile(found.manifest, (*found.signatures, forged))
    write_sealed_json(place, both, form="echoexport-signatures")
    with pytest.raises(SignatureError, match=r"key 'new' \(\w+\) is not of this manifest"):
        read_manifest(signed_bundle, trust=path)


def test_a_manifest_that_changed_since_drops_its_signatures_when_it_is_signed_anew(
    signed_bundle: Path, release: KeyPair, trust_file: Path
) -> None:
    path = signed_bundle / "manifest.json"
    data = json.loads(path.read_text())
    data["sampler"]["steps"] += 1
    del data["checksum"]
    path.write_text(json.dumps(data))
    with pytest.raises(SignatureError, match="of another bundle"):
        read_manifest(signed_bundle, trust=trust_file)
    done = sign_bundle(signed_bundle, release.private)
    assert (done.signatures, done.dropped) == (1, 1)
    read_manifest(signed_bundle, trust=trust_file)


def test_a_manifest_must_not_list_its_own_signatures(null_bundle: Path) -> None:
    path = null_bundle / "manifest.json"
    data = json.loads(path.read_text())
    del data["checksum"]
    data["files"][SIGNATURES_NAME] = next(iter(data["files"].values()))
    path.write_text(json.dumps(data))
    with pytest.raises(Exception, match=SIGNATURES_NAME):
        read_manifest(null_bundle)
