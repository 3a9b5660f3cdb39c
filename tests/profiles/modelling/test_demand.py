"""A clip's work: calls of a frame, other sizes, and what each mode computes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from echoexport.profiles.modelling.demand import (
    DENOISER,
    FORECAST_MODES,
    count_calls,
    find_demand,
    scale_work,
)
from echoexport.profiles.modelling.pace import (
    Case,
)
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.contract.network_work import Work
from echoexport.runtime.sampling.sampler import SamplingSettings


def test_the_denoiser_runs_once_a_window_for_each_step(
    full_size: Callable[[int], Manifest],
) -> None:
    calls = count_calls(full_size(512), SamplingSettings(6, 1.0, 3), fps=25.0)
    assert calls[DENOISER] == pytest.approx(6 / 9)
    assert calls["vae_decoder"] == 1
    assert calls["audio_encoder"] == pytest.approx(1 / (30 * 25))
    assert calls["reference_unet"] == calls["vae_encoder"] == calls["landmark_encoder"] == 0


def test_guidance_doubles_the_denoiser_s_calls(full_size: Callable[[int], Manifest]) -> None:
    manifest = full_size(512)
    once, twice = (
        count_calls(manifest, SamplingSettings(6, guidance, 3), fps=25.0) for guidance in (1.0, 2.5)
    )
    assert twice[DENOISER] == 2 * once[DENOISER]


def test_poses_are_encoded_for_each_frame(make_null_bundle: Callable[..., Path]) -> None:
    manifest = read_manifest(make_null_bundle(face="pose"))
    assert count_calls(manifest, SamplingSettings(2, 1.0, 1), fps=24.0)["landmark_encoder"] == 1


@pytest.mark.parametrize("name", [DENOISER, "vae_decoder", "vae_encoder", "reference_unet"])
def test_scaled_work_is_that_of_the_smaller_graph(
    name: str, full_size: Callable[[int], Manifest]
) -> None:
    large, small = (full_size(side).networks[name].work for side in (512, 256))
    assert large is not None and small is not None
    scaled = scale_work(large, ratio=0.25)
    assert scaled.total.mac_flops == pytest.approx(small.total.mac_flops, rel=0.01)
    assert scaled.total.fused_bytes == pytest.approx(small.total.fused_bytes, rel=0.05)
    assert scaled.total.weight_bytes == small.total.weight_bytes


def test_modes_only_move_operations_between_types(case: Case) -> None:
    for name in case.works:
        demands = {mode: case.changed(mode=mode).demand(name) for mode in FORECAST_MODES}
        assert len({round(demand.flops) for demand in demands.values()}) == 1
        assert demands["int8 bound"].bytes <= demands["int8"].bytes <= demands["fp16"].bytes
        assert demands["fp16"].int8_flops == demands["stored"].int8_flops == 0
        assert demands["fp16"].bytes == pytest.approx(demands["stored"].bytes, rel=1e-3)
    assert case.changed(mode="int8").demand(DENOISER).int8_flops > 0
    assert case.changed(mode="int8").demand("vae_decoder").int8_flops == 0


def test_an_int8_network_s_own_layers_are_what_runs_in_int8(case: Case) -> None:
    entry = replace(case.manifest.networks[DENOISER], precision="int8")
    work = Work(mac_flops=100, weighted_flops=80, int8_flops=30)
    demand = find_demand(DENOISER, entry, work, mode="int8")
    assert (demand.int8_flops, demand.float_flops) == (30, 70)
