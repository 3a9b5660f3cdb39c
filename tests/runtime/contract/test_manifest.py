"""The manifest: it comes back as it was written, and what breaks its rules is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.manifests import drop_checksum, edit_manifest

from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import (
    FileEntry,
    QuantizationSummary,
    read_manifest,
    replace_manifest,
    write_manifest,
)
from echoexport.runtime.contract.spec import TOLERANCES
from echoexport.runtime.errors import BundleError

FILE = "manifest.json"


def set_at(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    *way, last = place.split("/")

    def edit(data: dict[str, Any]) -> None:
        for key in way:
            data = data[key]
        data[last] = value

    return edit


def test_a_manifest_comes_back_as_it_was_written(null_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(null_bundle)
    (tmp_path / "copy").mkdir()
    write_manifest(manifest, tmp_path / "copy")
    assert read_manifest(tmp_path / "copy") == manifest
    assert (tmp_path / "copy" / FILE).read_bytes() == (null_bundle / FILE).read_bytes()


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: no such file; .* is not a bundle"):
        read_manifest(tmp_path)


def test_a_linked_manifest_is_refused(null_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / FILE).symlink_to(null_bundle / FILE)
    with pytest.raises(BundleError, match=r"other/manifest\.json: no such file"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": "echoexport-bundle",}', "\ufeff", "[" * 100_000]
)
def test_broken_json_is_refused_with_the_files_name(null_bundle: Path, text: str) -> None:
    (null_bundle / FILE).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json: not readable JSON"):
        read_manifest(null_bundle)


def test_bytes_that_are_no_text_are_refused_with_the_files_name(null_bundle: Path) -> None:
    (null_bundle / FILE).write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(BundleError, match=r"manifest\.json: not readable JSON"):
        read_manifest(null_bundle)


def test_a_manifest_that_may_not_be_read_is_refused(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(BundleError, match=r"manifest\.json: cannot be read: Permission denied"):
        read_manifest(null_bundle)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": "onnx", "schema": 1}'])
def test_another_format_is_refused(null_bundle: Path, text: str) -> None:
    (null_bundle / FILE).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json: not an echoexport-bundle manifest"):
        read_manifest(null_bundle)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_schema_version_is_refused_before_anything_else(
    null_bundle: Path, version: object
) -> None:
    (null_bundle / FILE).write_text(
        json.dumps({"format": "echoexport-bundle", "schema": version, "new": 1})
    )
    with pytest.raises(
        BundleError, match=r"manifest\.json: schema version .*; this release reads 1"
    ):
        read_manifest(null_bundle)


def test_an_unknown_key_is_refused(null_bundle: Path) -> None:
    edit_manifest(null_bundle, set_at("window/stride", 1))
    with pytest.raises(
        BundleError, match=r"manifest\.json: manifest\.window: unknown key 'stride'"
    ):
        read_manifest(null_bundle)


def test_a_missing_key_is_refused(null_bundle: Path) -> None:
    edit_manifest(null_bundle, lambda data: data["sampler"].pop("steps"))
    with pytest.raises(
        BundleError, match=r"manifest\.json: manifest\.sampler: missing key 'steps'"
    ):
        read_manifest(null_bundle)


def test_a_wrong_type_is_refused(null_bundle: Path) -> None:
    edit_manifest(null_bundle, set_at("picture/width", "512"))
    with pytest.raises(
        BundleError, match=r"manifest\.json: manifest\.picture\.width: wanted a int, found '512'"
    ):
        read_manifest(null_bundle)


@pytest.mark.parametrize("name", FAMILY.required)
def test_a_bundle_without_one_of_the_six_networks_is_refused(null_bundle: Path, name: str) -> None:
    edit_manifest(null_bundle, lambda data: data["networks"].pop(name))
    with pytest.raises(BundleError, match=rf"manifest\.json: networks: missing \['{name}'\]"):
        read_manifest(null_bundle)


def test_a_network_that_the_family_lacks_is_refused(null_bundle: Path) -> None:
    edit_manifest(
        null_bundle, lambda data: data["networks"].update(extra=data["networks"]["vae_decoder"])
    )
    with pytest.raises(BundleError, match=r"unknown \['extra'\]"):
        read_manifest(null_bundle)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.bin",
        "/etc/passwd",
        "a/../../b",
        "..",
        "",
        ".",
        "a\\..\\b",
        "a\0b",
        "manifest.json",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused_by_name(null_bundle: Path, name: str) -> None:
    edit_manifest(
        null_bundle, lambda data: data["files"].update({name: {"sha256": "", "bytes": 0}})
    )
    with pytest.raises(
        BundleError, match=r"leaves the bundle or is not a plain relative path; refused"
    ) as caught:
        read_manifest(null_bundle)
    assert repr(name) in str(caught.value)


def test_a_networks_file_must_be_in_the_table_of_files(null_bundle: Path) -> None:
    edit_manifest(null_bundle, set_at("networks/vae_decoder/graph", "../vae_decoder.onnx"))
    with pytest.raises(
        BundleError, match=r"network vae_decoder: '\.\./vae_decoder\.onnx' is not in the manifest's"
    ):
        read_manifest(null_bundle)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("fps", 0),
        ("fps", -24.0),
        ("picture/downscale", 0),
        ("picture/width", 30),
        ("picture/height", -32),
        ("window/frames", 0),
        ("window/overlap", 4),
        ("window/overlap", -1),
        ("sampler/noise_clamp", 0.0),
        ("audio/context", 0),
    ],
)
def test_numbers_that_cannot_be_are_refused(null_bundle: Path, place: str, value: float) -> None:
    edit_manifest(null_bundle, set_at(place, value))
    with pytest.raises(BundleError, match=r"manifest\.json: it breaks a rule: "):
        read_manifest(null_bundle)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1" + 400 * "0"])
def test_numbers_that_json_does_not_have_are_refused(null_bundle: Path, number: str) -> None:
    path = drop_checksum(null_bundle)
    path.write_text(path.read_text().replace('"fps": 24.0', f'"fps": {number}'))
    with pytest.raises(BundleError, match=r"manifest\.fps: wanted a finite float"):
        read_manifest(null_bundle)


def test_a_noise_schedule_that_nobody_implements_is_refused_with_the_files_name(
    null_bundle: Path,
) -> None:
    edit_manifest(null_bundle, set_at("sampler/scheduler/prediction_type", "epsilon"))
    with pytest.raises(
        BundleError, match=r"manifest\.json: scheduler prediction_type 'epsilon' is not supported"
    ):
        read_manifest(null_bundle)


@pytest.mark.parametrize("dtype", ["object", "float64", "U16", ""])
def test_a_tensor_of_a_dtype_that_no_network_has_is_refused(null_bundle: Path, dtype: str) -> None:
    edit_manifest(
        null_bundle, lambda data: data["networks"]["vae_decoder"]["outputs"][0].update(dtype=dtype)
    )
    with pytest.raises(BundleError, match=r"network vae_decoder: tensor 'picture' is "):
        read_manifest(null_bundle)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_a_network_without_a_tolerance_for_each_precision_is_refused(
    null_bundle: Path, precision: str
) -> None:
    edit_manifest(null_bundle, set_at("networks/vae_encoder/precision", "int8"))
    edit_manifest(
        null_bundle, lambda data: data["networks"]["vae_encoder"]["tolerances"].pop(precision)
    )
    with pytest.raises(
        BundleError, match=rf"network vae_encoder: no tolerance above 0 for {precision}"
    ):
        read_manifest(null_bundle)


def test_an_unknown_kind_of_face_is_refused_with_the_known_ones(null_bundle: Path) -> None:
    edit_manifest(null_bundle, set_at("face", "depth"))
    with pytest.raises(BundleError, match=r"face is 'depth'; known: mask, pose"):
        read_manifest(null_bundle)


def test_a_bundle_from_before_there_were_families_is_of_the_first(null_bundle: Path) -> None:
    whole = read_manifest(null_bundle)
    edit_manifest(null_bundle, lambda data: data.pop("family"))
    manifest = read_manifest(null_bundle)
    assert manifest.family == "echomimic-v1"
    assert manifest == whole


def test_the_family_is_told_before_what_depends_on_it(null_bundle: Path) -> None:
    names = list(json.loads((null_bundle / FILE).read_text()))
    assert names[:4] == ["format", "schema", "family", "variant"]


def test_an_unknown_family_is_refused_with_the_known_ones_in_one_line(null_bundle: Path) -> None:
    edit_manifest(null_bundle, set_at("family", "echomimic-v9"))
    with pytest.raises(
        BundleError,
        match=r"^\S+manifest\.json: unknown family 'echomimic-v9'; known: echomimic-v1\.",
    ) as caught:
        read_manifest(null_bundle)
    assert "\n" not in str(caught.value)


def test_a_bundle_from_before_int8_is_read_as_it_was_meant(null_bundle: Path) -> None:
    def age(data: dict[str, Any]) -> None:
        for entry in data["networks"].values():
            del entry["tolerances"]["int8"], entry["compute"]
        del data["quantization"], data["quality"]

    edit_manifest(null_bundle, age)
    manifest = read_manifest(null_bundle)
    assert {entry.compute for entry in manifest.networks.values()} == {"fp32"}
    assert (manifest.quantization, manifest.quality) == (None, None)


def test_what_quantization_did_comes_back_as_it_was_written(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    files = {
        **manifest.files,
        "quantization.json": FileEntry("0" * 64, 2),
        "quality.json": FileEntry("1" * 64, 2),
    }
    summary = QuantizationSummary("quantization.json", "entropy", "abc", 20.0, None)
    write_manifest(
        replace(manifest, files=files, quantization=summary, quality="quality.json"), null_bundle
    )
    found = read_manifest(null_bundle)
    assert (found.quantization, found.quality) == (summary, "quality.json")


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (
            "networks/vae_decoder/precision",
            "int4",
            r"network vae_decoder: precision 'int4'; known: fp32, fp16, int8",
        ),
        (
            "networks/vae_decoder/compute",
            "tf32",
            r"network vae_decoder: compute 'tf32'; known: fp32, bf16",
        ),
        (
            "quality",
            "report.json",
            r"quality: 'report\.json' is not in the manifest's table of files",
        ),
        (
            "quantization",
            {
                "plan": "plan.json",
                "method": "",
                "calibration": "",
                "budget_db": None,
                "reached_db": None,
            },
            r"quantization: 'plan\.json' is not in the manifest's table of files",
        ),
        ("quantization", {"plan": "plan.json"}, r"manifest\.quantization: missing key 'method'"),
    ],
)
def test_what_is_said_of_precision_must_be_known_and_its_files_listed(
    null_bundle: Path, place: str, value: Any, complaint: str
) -> None:
    edit_manifest(null_bundle, set_at(place, value))
    with pytest.raises(BundleError, match=complaint):
        read_manifest(null_bundle)


def test_a_finished_bundles_manifest_is_replaced_and_nothing_else_is_left(
    null_bundle: Path,
) -> None:
    names = sorted(path.name for path in (*null_bundle.iterdir(), *null_bundle.parent.iterdir()))
    manifest = replace(read_manifest(null_bundle), fps=30.0)
    replace_manifest(manifest, null_bundle)
    assert read_manifest(null_bundle) == manifest
    assert (
        sorted(path.name for path in (*null_bundle.iterdir(), *null_bundle.parent.iterdir()))
        == names
    )


def test_a_byte_order_mark_before_it_is_no_fault(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    path = null_bundle / FILE
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_manifest(null_bundle) == manifest
