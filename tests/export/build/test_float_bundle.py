"""A plain bundle: traced once, whole or not there, proved, and told of on the way."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import (
    BackendError,
    GraphError,
    OutputError,
)
from echoexport.runtime.progress import Progress


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_a_second_build_traces_nothing_replaces_the_old_bundle_and_gives_the_same_files(
    checkpoint: Path,
    trace_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[..., Manifest],
) -> None:
    first = build(checkpoint, tmp_path / "bundle", traces=trace_folder)

    def refuse(*_: object) -> None:
        raise AssertionError("a cached graph was traced again")

    monkeypatch.setattr("echoexport.export.subnets.tracing.trace_network", refuse)
    second = build(checkpoint, tmp_path / "bundle", traces=trace_folder, steps=9)
    assert second.files == first.files
    assert second == read_manifest(tmp_path / "bundle")
    assert (first.sampler.steps, second.sampler.steps) == (6, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "checkpoint"]


def test_a_build_proves_its_bundle_and_notes_it_in_the_manifest(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    proved = build(checkpoint, tmp_path / "proved", traces=trace_folder)
    assert (
        f"self-tests passed at build time on ort: {', '.join(FAMILY.required)}"
        in proved.provenance.notes
    )
    unproved = build(checkpoint, tmp_path / "unproved", traces=trace_folder, check="none")
    assert unproved.provenance.notes[-1].startswith("self-tests were not run by the build")


def test_networks_for_live_come_beside_the_others_which_stay_as_they_are(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    plain = build(checkpoint, tmp_path / "plain", traces=trace_folder)
    live = build(checkpoint, tmp_path / "live", traces=trace_folder, live=True)
    assert tuple(plain.networks) == FAMILY.required
    assert tuple(live.networks) == FAMILY.networks
    assert {name: live.networks[name] for name in plain.networks} == plain.networks
    assert {name: live.files[name] for name in plain.files} == plain.files
    assert sorted(live.files.keys() - plain.files.keys()) == [
        "audio_encoder_live.onnx",
        "denoising_unet_live.onnx",
        "self-test/audio_encoder_live.npz",
        "self-test/denoising_unet_live.npz",
    ]


def test_networks_for_live_share_weights_and_prove_themselves(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    live = build(checkpoint, tmp_path / "live", traces=trace_folder, live=True)
    for name, owner in FAMILY.shares.items():
        assert live.networks[name].weights == live.networks[owner].weights
        assert live.networks[name].parameters == live.networks[owner].parameters
    notes = live.provenance.notes
    assert any("padding is that of mean speech" in note for note in notes)
    assert f"self-tests passed at build time on ort: {', '.join(FAMILY.networks)}" in notes


def test_an_engine_that_disagrees_with_the_module_stops_the_build(
    checkpoint: Path,
    trace_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[..., Manifest],
) -> None:
    monkeypatch.setattr("echoexport.runtime.bundle.self_test.compare_outputs", lambda *_: 0.5)
    with pytest.raises(
        BackendError,
        match=r"vae_encoder: ort is off by 5\.0e-01 of the maximum, 5e-04 is allowed; "
        r"build with --check none",
    ):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder)
    assert not (tmp_path / "bundle").exists()


def test_progress_goes_from_nothing_to_all(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    told: list[tuple[int, int]] = []
    build(
        checkpoint,
        tmp_path / "bundle",
        traces=trace_folder,
        report=lambda _, done, total: told.append((done, total)),
    )
    assert told[0][0] == 0
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def interrupt_at(stage: str) -> Progress:
    def report(what: str, done: int, total: int) -> None:
        if what.startswith(stage):
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize(
    "stage", ["checkpoint", "vae_encoder: trace", "denoising_unet: weights", "bundle: written"]
)
def test_an_interrupted_build_leaves_nothing(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, stage: str, build: Callable[..., Manifest]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder, report=interrupt_at(stage))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_interrupted_build_leaves_the_old_bundle_as_it_was(
    checkpoint: Path, trace_folder: Path, null_bundle: Path, build: Callable[..., Manifest]
) -> None:
    before = listing(null_bundle.parent)
    with pytest.raises(KeyboardInterrupt):
        build(checkpoint, null_bundle, traces=trace_folder, report=interrupt_at("bundle: written"))
    assert listing(null_bundle.parent) == before


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing past ``size`` bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_nothing_and_is_told_in_one_line(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    with (
        file_size_limit(1 << 15),
        pytest.raises(OutputError, match=r"bundle: cannot write the bundle: File too large"),
    ):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_that_computes_nonsense_is_refused(
    checkpoint: Path,
    trace_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[..., Manifest],
) -> None:
    monkeypatch.setattr(
        "echoexport.export.subnets.golden.compute_golden",
        lambda *_, **__: {"latents": np.full((1, 4, 8, 8), np.nan)},
    )
    with pytest.raises(
        GraphError, match=r"vae_encoder: output 'latents' is not finite on the self-test inputs"
    ):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
