"""``echoexport verify`` and ``echoexport inspect``: proving a bundle, and reading what is in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.manifests import edit_manifest

from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.contract.schema import parse


def test_a_good_bundle_passes(command: Callable[..., Any], null_bundle: Path) -> None:
    outcome = command("verify", null_bundle)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "18 files as the manifest says"
    assert [line.split()[0] for line in lines[1:]] == list(FAMILY.required)
    assert all(" passed " in line and "(null, fp32)" in line for line in lines[1:])


@pytest.mark.slow
def test_a_built_bundle_passes_on_a_real_backend(
    command: Callable[..., Any], build_tiny: Callable[..., Path]
) -> None:
    pytest.importorskip("onnxruntime")
    outcome = command("verify", build_tiny("acc"), "--backend", "ort", "--network", "vae_decoder")
    assert outcome.code == 0, outcome
    assert "vae_decoder passed" in " ".join(outcome.out.split())
    assert "(ort, fp32)" in outcome.out


def test_one_network_can_be_chosen(command: Callable[..., Any], null_bundle: Path) -> None:
    outcome = command(
        "verify", null_bundle, "--network", "vae_decoder", "--network", "audio_encoder"
    )
    assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == [
        "vae_decoder",
        "audio_encoder",
    ]


def test_an_unknown_network_is_answered_with_the_nearest(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    outcome = command("verify", null_bundle, "--network", "vae_decodr")
    assert outcome.code == 1
    assert "Did you mean 'vae_decoder'?" in outcome.err


def test_files_only_needs_no_backend(
    command: Callable[..., Any], null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_manifest(null_bundle, lambda data: data.update(backends=["tensorrt"]))
    outcome = command("verify", null_bundle, "--files-only")
    assert (outcome.code, outcome.out) == (0, "18 files as the manifest says\n")


@pytest.mark.parametrize("options", [(), ("--files-only",)])
@pytest.mark.parametrize(
    "name", ["denoising_unet.bin", "vae_encoder.onnx", "self-test/audio_encoder.npz"]
)
def test_a_tampered_file_is_named(
    refusal: Callable[..., str], null_bundle: Path, name: str, options: tuple[str, ...]
) -> None:
    path = null_bundle / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = refusal("verify", null_bundle, *options)
    assert str(path) in message
    assert "sha256" in message


def test_a_file_that_went_missing_is_named(refusal: Callable[..., str], null_bundle: Path) -> None:
    (null_bundle / "vae_decoder.bin").unlink()
    assert f"{null_bundle / 'vae_decoder.bin'}: missing" in refusal("verify", null_bundle)


def test_a_file_of_nobodys_is_named(refusal: Callable[..., str], null_bundle: Path) -> None:
    (null_bundle / "extra.txt").write_text("hello")
    assert f"{null_bundle / 'extra.txt'}: not in the manifest" in refusal("verify", null_bundle)


def test_a_network_that_disagrees_fails_after_all_were_tried(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    spoil_self_test(null_bundle, "vae_decoder")
    outcome = command("verify", null_bundle)
    assert outcome.code == 1
    assert outcome.out.count("passed") == 5
    assert "vae_decoder FAILED" in " ".join(outcome.out.split())
    assert outcome.told == [
        f"echoexport: error: {null_bundle}: vae_decoder failed; try another --backend, or "
        "build again"
    ]


def test_the_parser_is_asked_for_each_network(
    command: Callable[..., Any], null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoexport.export.engines import tensorrt_rtx

    asked = []

    def check(graph: Path) -> tensorrt_rtx.ParserReport:
        asked.append(graph.name)
        return tensorrt_rtx.ParserReport(graph.stem, "1.7", 0.5, 2.0, 3_000_000, 4_000_000_000)

    monkeypatch.setattr(tensorrt_rtx, "require_installed", lambda: None)
    monkeypatch.setattr(tensorrt_rtx, "check_network", check)
    outcome = command("verify", null_bundle, "--parser")
    assert asked == [f"{name}.onnx" for name in FAMILY.required]
    assert "built in 2.0 s, engine 3.0 MB, peak 4.0 GB (TensorRT-RTX 1.7, measured)" in outcome.out


def test_the_parser_that_is_not_installed_is_named_with_its_extra(
    command: Callable[..., Any], null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoexport.export.engines import tensorrt_rtx

    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: False)
    outcome = command("verify", null_bundle, "--parser")
    assert outcome.code == 1
    assert "echoexport[tensorrt-rtx]" in outcome.told[0]


@pytest.mark.parametrize("name", ["verify", "inspect"])
def test_a_folder_that_is_no_bundle_is_refused(
    refusal: Callable[..., str], tmp_path: Path, name: str
) -> None:
    assert f"{tmp_path} is not a bundle" in refusal(name, tmp_path)
    assert "nowhere" in refusal(name, tmp_path / "nowhere")


def test_the_manifest_is_printed_for_people(command: Callable[..., Any], null_bundle: Path) -> None:
    edit_manifest(null_bundle, lambda data: data["provenance"].update(notes=["seen by no one"]))
    outcome = command("inspect", null_bundle)
    assert (outcome.code, outcome.err) == (0, "")
    rows = {line.split()[0]: line.split(maxsplit=1)[-1] for line in outcome.out.splitlines()}
    assert rows["variant"] == "acc (face: mask)"
    assert rows["picture"] == "32x32 px, fp32"
    assert rows["window"] == "4 frames, 1 shared, moves 2 a step"
    assert rows["sampler"] == "2 steps, guidance 1, noise clamped to 1.5"
    assert rows["note"] == "seen by no one"
    assert set(FAMILY.required) <= set(rows)


def test_noise_that_frames_share_is_printed_where_there_is_any(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    edit_manifest(null_bundle, lambda data: data["sampler"].update(shared_noise=0.5))
    assert (
        "2 steps, guidance 1, noise clamped to 1.5, noise shared 50 %\n"
        in command("inspect", null_bundle).out
    )
    edit_manifest(null_bundle, lambda data: data["sampler"].pop("shared_noise"))
    assert "noise shared" not in command("inspect", null_bundle).out


def test_the_manifest_is_printed_as_json_that_reads_back(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    printed = json.loads(command("inspect", null_bundle, "--json").out)
    assert parse(Manifest, printed, where="stdout") == read_manifest(null_bundle)


def test_every_tensor_is_printed_with_its_axes(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    out = command("inspect", null_bundle, "--tensors").out
    assert "      in  picture (batch 1, channels 3, height 32, width 32) float32\n" in out
    manifest = read_manifest(null_bundle)
    tensors = sum(len(entry.inputs) + len(entry.outputs) for entry in manifest.networks.values())
    assert sum(line.startswith("      ") for line in out.splitlines()) == tensors


def test_inspecting_reads_the_manifest_only(command: Callable[..., Any], null_bundle: Path) -> None:
    for path in null_bundle.iterdir():
        if path.name != "manifest.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert command("inspect", null_bundle).code == 0


def spoil_self_test(folder: Path, network: str) -> None:
    """Golden outputs that no backend gives, hashed as they should be."""
    from echoexport.runtime.bundle.files import hash_file

    path = folder / "self-test" / f"{network}.npz"
    with np.load(path) as arrays:
        spoilt = {
            name: arrays[name] + np.float32(name.startswith("output.")) for name in arrays.files
        }
    np.savez(path, **spoilt)
    entry = {"sha256": hash_file(path), "bytes": path.stat().st_size}
    edit_manifest(folder, lambda data: data["files"].update({f"self-test/{network}.npz": entry}))


def test_inspecting_shows_what_is_int8_and_what_computes_in_bf16(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    summary = {
        "plan": "quantization.json",
        "method": "mse",
        "calibration": "c" * 64,
        "budget_db": 20.0,
    }

    def edit(data: dict[str, Any]) -> None:
        data["networks"]["denoising_unet"] |= {"precision": "int8", "compute": "bf16"}
        data["files"] |= {
            name: {"sha256": "0" * 64, "bytes": 2} for name in ("quantization.json", "quality.json")
        }
        data |= {"quantization": {**summary, "reached_db": 21.25}, "quality": "quality.json"}

    edit_manifest(null_bundle, edit)
    out = command("inspect", null_bundle).out
    assert re.search(r"denoising_unet .* int8, computed in bf16  opset", out)
    assert out.count("computed in") == 1
    assert (
        "ranges by mse, budget 20 dB, reached 21.2 dB; layers in quantization.json, set "
        "cccccccccccc\n" in out
    )
    assert "quality   report in quality.json\n" in out
