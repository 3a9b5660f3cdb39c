"""The cache of traces.

Found again by topology and shapes, whatever the weights, and never trusted blindly.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from echoexport.export.architecture import Architecture
from echoexport.export.graphs import traces
from echoexport.export.graphs.traces import find_trace, trace_key
from echoexport.export.sizes import size_networks
from echoexport.export.subnets import tracing
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.files.sealed_file import read_sealed


def specs_of(
    a: Architecture, *, side: int = 8, frames: int = 3, precision: str = "fp32"
) -> dict[str, SubnetSpec]:
    return describe_networks(
        size_networks(a, size=(side, side), frames=frames, face="mask", live=True),
        precision=precision,
    )


@pytest.fixture
def spec(micro: Architecture) -> SubnetSpec:
    return specs_of(micro)["landmark_encoder"]


@pytest.fixture
def kept(spec: SubnetSpec, micro: Architecture, tmp_path: Path) -> Path:
    """The file of a trace that is in the cache."""
    find_trace(spec, micro, folder=tmp_path)
    (path,) = tmp_path.glob("*.trace")
    return path


def test_the_second_call_does_not_trace(
    spec: SubnetSpec, micro: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_trace(spec, micro, folder=tmp_path)
    monkeypatch.setattr(tracing, "trace_network", lambda *_: pytest.fail("traced again"))
    second = find_trace(spec, micro, folder=tmp_path)
    assert (first.cached, second.cached) == (False, True)
    assert first.model.SerializeToString() == second.model.SerializeToString()


def test_no_folder_means_no_cache(spec: SubnetSpec, micro: Architecture, tmp_path: Path) -> None:
    assert not find_trace(spec, micro, folder=None).cached
    assert not find_trace(spec, micro, folder=None).cached


def test_a_trace_with_a_flipped_bit_is_made_anew(
    kept: Path, spec: SubnetSpec, micro: Architecture
) -> None:
    whole = kept.read_bytes()
    made = find_trace(spec, micro, folder=kept.parent).model
    draw = np.random.default_rng(11)
    for place in draw.integers(0, 8 * len(whole), 5):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << (place % 8)
        kept.write_bytes(flipped)
        trace = find_trace(spec, micro, folder=kept.parent)
        assert not trace.cached
        assert trace.model.SerializeToString() == made.SerializeToString()
        assert kept.read_bytes() == whole


def test_a_trace_cut_off_anywhere_is_made_anew(
    kept: Path, spec: SubnetSpec, micro: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kept.read_bytes()
    made = find_trace(spec, micro, folder=kept.parent).model
    monkeypatch.setattr(tracing, "trace_network", lambda *_: made)
    for length in (*range(0, len(whole) - 300, 101), *range(len(whole) - 300, len(whole))):
        kept.write_bytes(whole[:length])
        trace = find_trace(spec, micro, folder=kept.parent)
        assert not trace.cached, f"{length} of {len(whole)} bytes were taken for the whole"
    assert kept.read_bytes() == whole
    assert find_trace(spec, micro, folder=kept.parent).cached


def test_a_cache_that_cannot_be_written_does_not_stop_the_trace(
    spec: SubnetSpec, micro: Architecture, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert find_trace(spec, micro, folder=tmp_path / "file" / "traces").model.graph.node


def test_a_failed_write_leaves_nothing(
    spec: SubnetSpec, micro: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert not find_trace(spec, micro, folder=tmp_path).cached
    assert list(tmp_path.iterdir()) == []


def test_keys_differ_by_network_shapes_and_precision(micro: Architecture) -> None:
    variations = (specs_of(micro), specs_of(micro, side=12), specs_of(micro, precision="fp16"))
    keys = [
        trace_key(specs["denoising_unet"], micro)
        for specs in (*variations, specs_of(micro, frames=4))
    ]
    keys += [
        trace_key(specs_of(micro)[name], micro)
        for name in FAMILY.networks
        if name != "denoising_unet"
    ]
    assert len(set(keys)) == len(keys)


def test_keys_differ_by_what_shapes_do_not_show(micro: Architecture) -> None:
    specs = specs_of(micro)
    assert micro.unet.motion is not None
    for change in (
        {"heads": (4, 2)},
        {"audio_ratio": 2.0},
        {"norm_eps": 1e-6},
        {"motion": replace(micro.unet.motion, heads=4)},
    ):
        changed = replace(micro, unet=replace(micro.unet, **change))  # type: ignore[arg-type]
        assert trace_key(specs["denoising_unet"], changed) != trace_key(
            specs["denoising_unet"], micro
        )
        assert trace_key(specs["vae_encoder"], changed) == trace_key(specs["vae_encoder"], micro)
    scaled = replace(micro, vae=replace(micro.vae, scaling=0.2))
    assert trace_key(specs["vae_decoder"], scaled) != trace_key(specs["vae_decoder"], micro)


def test_keys_differ_by_our_own_code(
    spec: SubnetSpec, micro: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trace_key(spec, micro)
    monkeypatch.setattr(traces, "_source_digest", lambda: "other code")
    assert trace_key(spec, micro) != before


@pytest.mark.parametrize("place", ["unet.py", "lowering/layers.py"])
def test_a_change_to_any_source_of_the_networks_changes_the_key(
    spec: SubnetSpec,
    micro: Architecture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    before = trace_key(spec, micro)
    copy = tmp_path / "subnets"
    shutil.copytree(traces.SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(traces, "SOURCES", copy)
    assert trace_key(spec, micro) == before
    with (copy / place).open("a") as file:
        file.write("# changed\n")
    assert trace_key(spec, micro) != before


def trace_of(size: int) -> onnx.ModelProto:
    return onnx.ModelProto(producer_name="x" * size)


def test_a_trace_written_by_two_processes_of_one_number_at_once_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def open_late(path: Path, mode: str) -> Any:
        monkeypatch.undo()
        traces._store(trace_of(50), tmp_path / "some.trace")  # as another container's process does
        return path.open(mode)

    monkeypatch.setattr(Path, "open", open_late)
    traces._store(trace_of(100), tmp_path / "some.trace")
    kept = read_sealed(tmp_path / "some.trace", key="some.trace")
    assert kept == trace_of(100).SerializeToString()
