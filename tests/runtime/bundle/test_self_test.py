"""A network's golden arrays: changed, missing or hostile ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.errors import BundleError


def test_changed_self_test_arrays_are_refused(null_bundle: Path) -> None:
    path = null_bundle / "self-test/vae_decoder.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(BundleError, match=r"vae_decoder\.npz: sha256 is"),
    ):
        bundle.self_test("vae_decoder")


def test_self_test_arrays_of_another_network_are_refused(
    null_bundle: Path, rewrite: Callable[[Path, str, bytes], None]
) -> None:
    content = (null_bundle / "self-test/vae_encoder.npz").read_bytes()
    rewrite(null_bundle, "self-test/vae_decoder.npz", content)
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(BundleError, match=r"not the arrays of vae_decoder"),
    ):
        bundle.self_test("vae_decoder")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no arrays at all"])
def test_a_self_test_that_is_no_archive_of_arrays_is_refused(
    null_bundle: Path, content: bytes, rewrite: Callable[[Path, str, bytes], None]
) -> None:
    rewrite(null_bundle, "self-test/vae_decoder.npz", content)
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(BundleError, match=r"not the arrays of vae_decoder"),
    ):
        bundle.self_test("vae_decoder")


def test_a_self_test_that_wants_code_to_run_is_refused(
    null_bundle: Path, tmp_path: Path, rewrite: Callable[[Path, str, bytes], None]
) -> None:
    arrays: dict[str, Any] = {
        "input.latents": np.array([print], object),
        "output.picture": np.zeros(1),
    }
    np.savez(tmp_path / "evil.npz", **arrays)
    rewrite(null_bundle, "self-test/vae_decoder.npz", (tmp_path / "evil.npz").read_bytes())
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(BundleError, match=r"Object arrays cannot be loaded"),
    ):
        bundle.self_test("vae_decoder")
