"""A signed bundle is refused for any bit that changed, and with it every engine from elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fixtures.signing import KeyPair

from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.bundle.signing import sign_bundle
from echoexport.runtime.contract.signing.keys import read_public_key, read_signing_key
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME
from echoexport.runtime.contract.signing.trust import TRUST_VARIABLE
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BundleError, SignatureError

SEED = 17
FLIPS = 40  # of each kind


@contextmanager
def flipped(path: Path, generator: random.Random) -> Iterator[None]:
    """One bit of a file the other way round, for a while."""
    before = path.read_bytes()
    spoilt = bytearray(before)
    spoilt[generator.randrange(len(spoilt))] ^= 1 << generator.randrange(8)
    path.write_bytes(spoilt)
    try:
        yield
    finally:
        path.write_bytes(before)


def open_whole(bundle: Path, trust: Path) -> None:
    """Open a bundle and use every file of it."""
    with open_bundle(bundle, trust=trust) as opened:
        for name in opened.manifest.networks:
            opened.self_test(name)
        for _ in opened.check_files():
            pass


def test_the_bundle_opens_as_long_as_no_bit_changed(signed_bundle: Path, trust_file: Path) -> None:
    open_whole(signed_bundle, trust_file)


@pytest.mark.parametrize("kind", ["manifest", "graph", "weights", "self_test", "signatures"])
def test_a_flipped_bit_of_the_bundle_is_refused_with_its_files_name(
    signed_bundle: Path, trust_file: Path, kind: str
) -> None:
    generator = random.Random(f"{SEED}/{kind}")
    with open_bundle(signed_bundle) as opened:
        networks = list(opened.manifest.networks.values())
    for _ in range(FLIPS):
        entry = generator.choice(networks)
        own = {"manifest": "manifest.json", "signatures": SIGNATURES_NAME}
        path = signed_bundle / (own.get(kind) or getattr(entry, kind))
        with flipped(path, generator), pytest.raises(BundleError) as caught:
            open_whole(signed_bundle, trust_file)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
    open_whole(signed_bundle, trust_file)


def test_a_flipped_bit_of_a_trust_list_is_refused_with_its_name(
    signed_bundle: Path, trust_file: Path
) -> None:
    generator = random.Random(f"{SEED}/trust")
    for _ in range(FLIPS):
        with (
            flipped(trust_file, generator),
            pytest.raises(SignatureError, match=r"trust\.json"),
        ):
            open_whole(signed_bundle, trust_file)


@pytest.mark.parametrize(
    ("name", "read"),
    [("release.pem", read_signing_key), ("release.pem.pub", read_public_key)],
)
def test_a_flipped_bit_of_a_key_is_refused_with_its_name(
    release: KeyPair, name: str, read: Callable[[Path], object]
) -> None:
    generator = random.Random(f"{SEED}/{name}")
    path = release.path.with_name(name)
    for _ in range(FLIPS):
        with flipped(path, generator), pytest.raises(SignatureError) as caught:
            read(path)
        assert name in str(caught.value)


def test_nothing_is_signed_that_is_damaged(null_bundle: Path, release: KeyPair) -> None:
    weights = next(null_bundle.glob("*.bin"), None) or next(null_bundle.glob("*weights*"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BundleError, match=weights.name):
        sign_bundle(null_bundle, release.private)
    assert not (null_bundle / SIGNATURES_NAME).exists()


def test_a_trust_list_lets_no_cache_stand_in(
    signed_bundle: Path, trust_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = EngineOptions(cache=tmp_path / "cache")
    with open_bundle(signed_bundle, options=options) as opened:
        assert opened.options.cache == tmp_path / "cache"
    monkeypatch.setenv(TRUST_VARIABLE, str(trust_file))
    with open_bundle(signed_bundle, options=options) as opened:
        assert opened.options.cache is None


def test_a_plain_bundle_opens_without_the_library_of_signatures(null_bundle: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from echoexport.runtime import open_bundle\n"
        f"open_bundle({str(null_bundle)!r}).close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
