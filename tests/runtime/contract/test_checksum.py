"""The manifest's check sum: whatever changes a value is noticed, and a new layout is not."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.manifests import drop_checksum

from echoexport.runtime.contract.checksum import CHECKSUM, compute_checksum, encode_canonical
from echoexport.runtime.contract.manifest import read_manifest, replace_manifest
from echoexport.runtime.errors import BundleError

FILE = "manifest.json"


def flip_bit(content: bytes, byte: int, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[byte] ^= 1 << bit
    return bytes(flipped)


def test_a_value_that_was_changed_is_noticed(null_bundle: Path) -> None:
    path = null_bundle / FILE
    text = path.read_text("utf-8")
    assert '"fps": 24.0' in text
    path.write_text(text.replace('"fps": 24.0', '"fps": 25.0'), "utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json: its checksum is .* changed or damaged"):
        read_manifest(null_bundle)


def test_a_flipped_bit_in_any_byte_is_one_line_or_changes_nothing(null_bundle: Path) -> None:
    path = null_bundle / FILE
    whole = path.read_bytes()
    manifest = read_manifest(null_bundle)
    refused = 0
    for byte, bit in enumerate(np.random.default_rng(5).integers(0, 8, len(whole))):
        path.write_bytes(flip_bit(whole, byte, int(bit)))
        try:
            assert read_manifest(null_bundle) == manifest, byte
        except BundleError as error:
            refused += 1
            assert "\n" not in str(error), byte
    assert refused > 0.999 * len(whole)  # the rest: 1e-05 is also 1E-05


def test_no_flipped_bit_takes_the_checksum_away(null_bundle: Path) -> None:
    path = null_bundle / FILE
    whole = path.read_bytes()
    place = re.search(rb'"checksum": "[0-9a-f]{64}"', whole)
    assert place is not None
    for byte in range(*place.span()):
        for bit in range(8):
            path.write_bytes(flip_bit(whole, byte, bit))
            with pytest.raises(BundleError):
                read_manifest(null_bundle)


def test_the_canonical_form_is_sorted_close_and_without_the_checksum() -> None:
    data = {"b": [1, 1.0, 1e-05, None], CHECKSUM: "x", "a": {"\u00e9": True, "e": '"\n\x01'}}
    form = '{"a":{"e":"\\"\\n\\u0001","\u00e9":true},"b":[1,1.0,1e-05,null]}'
    assert encode_canonical(data) == form.encode()
    assert compute_checksum(data) == hashlib.sha256(form.encode()).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_does_not_have_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match=r"Out of range float|surrogates not allowed"):
        encode_canonical({"a": value})


def test_another_layout_of_the_same_values_is_no_change(null_bundle: Path) -> None:
    path = null_bundle / FILE
    manifest = read_manifest(null_bundle)
    data = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(dict(reversed(data.items()))), "utf-8")
    assert read_manifest(null_bundle) == manifest


def test_a_bundle_from_before_checksums_is_read(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    drop_checksum(null_bundle)
    assert read_manifest(null_bundle) == manifest


@pytest.mark.parametrize("value", [None, "", 5, ["a"], "0" * 64])
def test_a_checksum_that_is_none_is_refused(null_bundle: Path, value: object) -> None:
    path = null_bundle / FILE
    data = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**data, CHECKSUM: value}), "utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json: its checksum is "):
        read_manifest(null_bundle)


def test_a_key_that_stands_twice_is_refused(null_bundle: Path) -> None:
    path = drop_checksum(null_bundle)
    path.write_text(path.read_text("utf-8").replace('"fps": 24.0', '"fps": 1.0, "fps": 24.0'))
    with pytest.raises(BundleError, match=r"manifest\.json: .*it holds the key 'fps' twice"):
        read_manifest(null_bundle)


def test_a_manifest_that_is_replaced_has_a_sum_of_its_own(null_bundle: Path) -> None:
    before = json.loads((null_bundle / FILE).read_text("utf-8"))
    manifest = replace(read_manifest(null_bundle), fps=30.0)
    replace_manifest(manifest, null_bundle)
    after = json.loads((null_bundle / FILE).read_text("utf-8"))
    assert compute_checksum(after) == after[CHECKSUM] != before[CHECKSUM]
    assert read_manifest(null_bundle) == manifest
