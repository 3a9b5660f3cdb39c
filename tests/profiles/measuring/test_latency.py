"""Latency reports: percentiles on a made-up clock, turns, conditions, and their JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.graph_bytes import write_graph_of
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.measuring.latency import (
    Comparison,
    LatencyReport,
    compare_side_by_side,
    format_json,
    measure_calls,
    measure_network,
    read_report,
    write_report,
)
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.families.echomimic_v1 import (
    NetworkSizes,
    ReferenceTap,
    describe_networks,
)
from echoexport.runtime.contract.manifest import (
    BUNDLE_FORMAT,
    MANIFEST_SCHEMA,
    FileEntry,
    Manifest,
    NetworkEntry,
    Provenance,
)
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.contract.settings import (
    AudioSettings,
    PictureSettings,
    SamplerSettings,
    WindowSettings,
)
from echoexport.runtime.contract.spec import TOLERANCES
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import (
    BundleError,
    InputError,
    OutputError,
    SettingError,
    UnknownNameError,
)

SIZES = NetworkSizes(
    height=16,
    width=16,
    picture_channels=3,
    frames=2,
    latent_channels=4,
    latent_height=2,
    latent_width=2,
    time_width=8,
    mels=4,
    audio_context=6,
    audio_states=2,
    audio_tokens=20,
    audio_width=8,
    face_channels=1,
    face_frames=1,
    reference=(ReferenceTap("mid_block.attentions.0", 4, 8),),
)


class FakeClock:
    """Time that passes only when a call says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def call_taking(self, seconds: Iterable[float]) -> Callable[[], None]:
        durations: Iterator[float] = iter(seconds)

        def call() -> None:
            self.now += next(durations)

        return call


def make_null_bundle(folder: Path) -> Bundle:
    """A bundle without weights: the null backend reads none, and self-test files hold zeros."""
    networks = {}
    files = {}
    for name, spec in describe_networks(SIZES, precision="fp16").items():
        path = folder / "self-test" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        arrays = {
            f"input.{tensor.name}": np.zeros(tensor.shape, tensor.dtype) for tensor in spec.inputs
        }
        np.savez(path, **arrays)
        (folder / f"{name}.onnx").write_bytes(write_graph_of(spec))
        (folder / f"{name}.bin").write_bytes(b"")
        for file in (f"{name}.onnx", f"{name}.bin", f"self-test/{name}.npz"):
            files[file] = FileEntry(hash_file(folder / file), (folder / file).stat().st_size)
        networks[name] = NetworkEntry(
            f"{name}.onnx",
            f"{name}.bin",
            f"self-test/{name}.npz",
            "fp16",
            20,
            0,
            spec.inputs,
            spec.outputs,
            TOLERANCES,
        )
    manifest = Manifest(
        BUNDLE_FORMAT,
        MANIFEST_SCHEMA,
        "acc",
        "l4",
        ("null",),
        "fp16",
        24.0,
        "mask",
        PictureSettings(16, 16, 3, 4, 8),
        WindowSettings(2, 1, 2),
        SamplerSettings(4, 1.0, 1.5, SchedulerConfig()),
        AudioSettings(16000, 4, 6, 2, 8, 50, 10),
        networks,
        files,
        Provenance("", "", {}, {}, {}, ()),
    )
    return Bundle(folder, manifest, backend=load_backend("null"), options=EngineOptions(threads=3))


def test_percentiles_are_those_of_the_repeats() -> None:
    clock = FakeClock()
    call = clock.call_taking(float(i) for i in range(1, 102))
    report = measure_calls(call, warmup=0, repeats=101, label="x", clock=clock)
    assert (report.p50, report.p90, report.p99) == pytest.approx((51.0, 91.0, 100.0))
    assert (report.mean, report.min, report.repeats) == pytest.approx((51.0, 1.0, 101))


def test_the_warm_up_does_not_count() -> None:
    clock = FakeClock()
    report = measure_calls(
        clock.call_taking([50.0, 40.0, 1.0, 1.0]), warmup=2, repeats=2, label="x", clock=clock
    )
    assert report.mean == pytest.approx(1.0)
    assert report.warmup == 2


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30))
def test_percentiles_are_in_order_and_within_the_calls(seconds: list[float]) -> None:
    clock = FakeClock()
    report = measure_calls(
        clock.call_taking(seconds), warmup=0, repeats=len(seconds), label="x", clock=clock
    )
    assert report.min <= report.p50 + 1e-9 <= report.p90 + 2e-9 <= report.p99 + 3e-9
    assert report.p99 <= max(seconds) + 1e-6


def test_contestants_take_turns() -> None:
    order: list[str] = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    compare_side_by_side(calls, warmup=1, repeats=2)
    assert "".join(order) == "ababab"


def test_ratios_are_of_medians_and_above_one_for_the_faster() -> None:
    clock = FakeClock()
    calls = {
        "slow": clock.call_taking([3.0, 3.0, 90.0]),
        "quick": clock.call_taking([1.0, 70.0, 1.0]),
    }
    comparison = compare_side_by_side(calls, warmup=0, repeats=3, clock=clock)
    assert comparison.baseline == "slow"
    assert comparison.ratios == pytest.approx({"slow": 1.0, "quick": 3.0})


def test_a_call_quicker_than_the_clock_gives_a_finite_ratio() -> None:
    clock = FakeClock()
    calls = {"some": clock.call_taking([1.0]), "none": clock.call_taking([0.0])}
    assert compare_side_by_side(calls, warmup=0, repeats=1, clock=clock).ratios[
        "none"
    ] == pytest.approx(1e9)


@pytest.mark.parametrize(("warmup", "repeats"), [(0, 0), (-1, 3), (2, -5)])
def test_counts_that_measure_nothing_are_refused(warmup: int, repeats: int) -> None:
    with pytest.raises(SettingError, match=f"{repeats} repeats after {warmup}"):
        measure_calls(lambda: None, warmup=warmup, repeats=repeats, label="x")


def test_a_comparison_of_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="one call or more"):
        compare_side_by_side({}, warmup=0, repeats=1)


def test_a_network_is_measured_on_its_self_test_inputs_with_its_conditions(tmp_path: Path) -> None:
    bundle = make_null_bundle(tmp_path)
    report = measure_network(bundle, "vae_decoder", warmup=1, repeats=4)
    assert bundle.calls()["vae_decoder"] == 5
    assert report.label == "vae_decoder"
    found = report.conditions
    assert (found.target, found.compute, found.precision, found.threads) == (
        "l4",
        "fp32",
        "fp16",
        3,
    )
    assert found.backend.startswith("null: ")
    assert found.shapes == {"latents": (1, 4, 2, 2)}


def test_self_test_inputs_that_were_changed_are_refused(tmp_path: Path) -> None:
    bundle = make_null_bundle(tmp_path)
    np.savez(
        tmp_path / "self-test" / "vae_decoder.npz",
        **{"input.latents": np.ones((1, 4, 2, 2), np.float16)},
    )
    with pytest.raises(BundleError, match=r"vae_decoder\.npz"):
        measure_network(bundle, "vae_decoder")


def test_the_clock_is_one_of_the_conditions() -> None:
    report = measure_calls(lambda: None, warmup=0, repeats=1, label="x", clock=time.process_time)
    assert report.conditions.clock == "process_time"


def test_measuring_an_unknown_network_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="vae_decoder"):
        measure_network(make_null_bundle(tmp_path), "vae_decode")


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    found = replace(describe_circumstances(), shapes={"latents": (1, 4, 2, 2)})
    report = measure_calls(lambda: None, warmup=0, repeats=3, label="x", conditions=found)
    write_report(report, tmp_path / "deeper" / "report.json")
    assert read_report(LatencyReport, tmp_path / "deeper" / "report.json") == report
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == ["report.json"]


def test_a_comparison_survives_its_file(tmp_path: Path) -> None:
    comparison = compare_side_by_side({"a": lambda: None, "b": lambda: None}, warmup=0, repeats=2)
    write_report(comparison, tmp_path / "comparison.json")
    assert read_report(Comparison, tmp_path / "comparison.json") == comparison


def test_a_report_of_another_kind_is_refused_with_its_name(tmp_path: Path) -> None:
    write_report(
        measure_calls(lambda: None, warmup=0, repeats=1, label="x"), tmp_path / "report.json"
    )
    with pytest.raises(
        InputError, match=r"report\.json: not a readable Comparison: .*unknown key 'label'"
    ):
        read_report(Comparison, tmp_path / "report.json")


def test_a_missing_report_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: not a readable LatencyReport"):
        read_report(LatencyReport, tmp_path / "none.json")


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    report = measure_calls(lambda: None, warmup=0, repeats=1, label="x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(report, tmp_path / "file" / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_folding_lists_of_numbers_changes_no_json(data: object) -> None:
    assert json.loads(format_json(data)) == data


def test_lists_of_numbers_stand_on_one_line() -> None:
    assert '"shape": [1, 4, 2]' in format_json({"shape": [1, 4, 2]})
