"""What a build proves before its bundle is put in place, and what it notes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.manifests import edit_manifest

from echoexport.export.build import checks as build_checks
from echoexport.export.build.checks import AUTO_BYTES, check_bundle, fits_memory
from echoexport.export.engines import tensorrt_rtx
from echoexport.export.engines.tensorrt_rtx import ParserReport
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import Manifest, read_manifest, write_manifest
from echoexport.runtime.errors import BackendError, GraphError, SettingError
from echoexport.targets.spec import load_target

Check = Callable[..., list[str]]


@pytest.fixture
def check(null_bundle: Path) -> Check:
    """A function that checks the null bundle; ``edit`` changes its manifest first."""

    def run(
        which: str = "auto",
        *,
        target: str = "cpu",
        edit: Callable[[Manifest], Manifest] = lambda manifest: manifest,
        told: list[str] | None = None,
    ) -> list[str]:
        manifest = edit(read_manifest(null_bundle))
        write_manifest(manifest, null_bundle)
        told = [] if told is None else told
        return check_bundle(
            null_bundle, manifest, target=load_target(target), which=which, tell=told.append
        )

    return run


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """NVIDIA's parser as if it were installed: takes everything, and lists what it was asked."""
    asked: list[str] = []

    def take(graph: Path) -> ParserReport:
        asked.append(graph.stem)
        return ParserReport(graph.stem, "1.7.1", 0.1, 0.1, 1, 1)

    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: True)
    monkeypatch.setattr(tensorrt_rtx, "check_network", take)
    return asked


def enlarge(manifest: Manifest, network: str = "denoising_unet") -> Manifest:
    """As if one network were the full denoiser."""
    entry = replace(manifest.networks[network], parameters=1_300_000_000)
    return replace(manifest, networks={**manifest.networks, network: entry})


def test_every_network_that_passed_is_noted_with_the_backend(check: Check) -> None:
    assert check() == [f"self-tests passed at build time on null: {', '.join(FAMILY.required)}"]


def test_what_is_being_checked_is_told(check: Check) -> None:
    told: list[str] = []
    check(told=told)
    assert told == [f"{name}: checking on null" for name in FAMILY.required]


def test_no_check_is_noted_with_what_to_run(check: Check) -> None:
    told: list[str] = []
    assert check("none", told=told) == [
        "self-tests were not run by the build: run 'echoexport verify'"
    ]
    assert told == []


def test_auto_leaves_out_what_needs_too_much_memory_and_says_so(check: Check) -> None:
    passed, skipped = check(edit=enlarge)
    assert "denoising_unet" not in passed
    assert skipped.startswith("self-tests left to 'echoexport verify', too large")
    assert skipped.endswith(": denoising_unet")


def test_all_leaves_nothing_out(check: Check) -> None:
    assert check("all", edit=enlarge) == [
        f"self-tests passed at build time on null: {', '.join(FAMILY.required)}"
    ]


def test_a_network_that_disagrees_stops_the_build(check: Check, null_bundle: Path) -> None:
    spoil(null_bundle, "vae_decoder")
    with pytest.raises(
        BackendError, match=r"vae_decoder: null is off by .* is allowed; build with --check none"
    ):
        check()


def test_a_network_of_fewer_bits_that_disagrees_may_be_built_in_fp32(
    check: Check, null_bundle: Path
) -> None:
    def as_fp16(manifest: Manifest) -> Manifest:
        entry = replace(manifest.networks["vae_decoder"], precision="fp16")
        return replace(manifest, networks={**manifest.networks, "vae_decoder": entry})

    spoil(null_bundle, "vae_decoder")
    with pytest.raises(
        BackendError, match=r"vae_decoder: .*; build with --precision fp32, or --check none"
    ):
        check(edit=as_fp16)


def test_no_backend_at_all_is_a_note_and_no_failure(check: Check) -> None:
    notes = check(edit=lambda manifest: replace(manifest, backends=("tensorrt",)))
    assert len(notes) == 1
    assert notes[0].startswith(
        "self-tests were not run by the build: no backend of this bundle works here"
    )


def test_a_cpus_bundle_is_not_shown_to_nvidias_parser(check: Check, parser: list[str]) -> None:
    check(target="cpu")
    assert parser == []


def test_a_boards_bundle_is_parsed_and_noted_with_the_version(
    check: Check, parser: list[str]
) -> None:
    notes = check(target="jetson-orin")
    assert parser == list(FAMILY.required)
    assert (
        notes[1]
        == f"TensorRT-RTX 1.7.1 parsed and built at build time: {', '.join(FAMILY.required)}"
    )


def test_the_parser_is_not_asked_for_what_needs_too_much_memory(
    check: Check, parser: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_rtx, "estimate_memory", lambda weight_bytes: AUTO_BYTES + 1)
    notes = check(target="a10")
    assert parser == []
    assert notes[1].startswith("parser checks left to 'echoexport verify --parser'")


def test_a_refusal_of_the_parser_stops_the_build(
    check: Check, parser: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(graph: Path) -> ParserReport:
        raise GraphError(f"{graph}: TensorRT-RTX refuses it: no such operator")

    monkeypatch.setattr(tensorrt_rtx, "check_network", refuse)
    with pytest.raises(GraphError, match=r"vae_encoder\.onnx: TensorRT-RTX refuses it"):
        check(target="jetson-orin")


def test_a_parser_that_is_not_here_is_noted_with_its_extra(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: False)
    notes = check(target="jetson-orin")
    assert "pip install 'echoexport[tensorrt-rtx]'" in notes[1]


def test_an_unknown_check_is_refused_by_the_check_itself(check: Check) -> None:
    with pytest.raises(SettingError, match="known: auto, all, none"):
        check("some")


@pytest.mark.parametrize(
    ("needed", "limit", "fits"), [(1, None, True), (5, 5, True), (5.1, 5, False)]
)
def test_no_limit_fits_everything(needed: float, limit: int | None, fits: bool) -> None:
    assert fits_memory(needed, limit) is fits


def test_the_memory_limit_is_the_one_the_checks_are_sized_by() -> None:
    # the full denoiser, 1.3 billion values in fp32, needs about 10.8 GB on a CPU: never
    # within a build's limit
    assert not fits_memory(build_checks._ENGINE_FACTOR * 4 * 1_300_000_000, AUTO_BYTES)


def spoil(folder: Path, network: str) -> None:
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
