"""What a manifest may not hold, wherever it stands: text that is none, numbers that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.manifests import drop_checksum

from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import BundleError


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"variant": "acc"', '"variant": "\\ud800"', "half of a character"),
        ('"frames": 4', f'"frames": {2**65}', "larger than any number"),
        ('"frames": 4', f'"frames": {2**40}', "window of 1 to 4096 frames"),
        ('"width": 32', f'"width": {2**40}', "picture sides of at most 16384"),
    ],
    ids=["no text", "2^65", "2^40", "2^40 pixels"],
)
def test_text_and_numbers_that_cannot_be_are_one_line(
    null_bundle: Path, old: str, new: str, words: str
) -> None:
    path = drop_checksum(null_bundle)
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(BundleError, match=words.replace("^", r"\^")) as caught:
        read_manifest(null_bundle)
    assert "\n" not in str(caught.value)
