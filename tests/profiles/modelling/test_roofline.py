"""The roofline: what holds a network back, what it reaches, and nothing made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.manifests import edit_manifest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.modelling.roofline import (
    NOT_STORED,
    Roof,
    Roofline,
    draw_roofline,
    find_roof,
    find_work,
    place_network,
)
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.contract.network_work import NetworkWork, Work, add_up
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import BundleError
from echoexport.targets.spec import list_targets, load_target

ROOF = Roof(100.0, 10.0, 200.0, source="made up")
sizes = st.integers(1, 10**15)


def make_work(flops: int, moved: int, *, int8: int = 0) -> NetworkWork:
    return NetworkWork({"other": Work(mac_flops=flops, int8_flops=int8, fused_bytes=moved)})


@pytest.fixture
def manifest(null_bundle: Path) -> Manifest:
    """Six networks with work, each with ten times as much to compute as to move."""
    plain = read_manifest(null_bundle)
    entries = {
        name: replace(entry, work=make_work(1000, 100)) for name, entry in plain.networks.items()
    }
    return replace(plain, networks=entries)


def test_work_beyond_the_ridge_is_bound_by_arithmetic() -> None:
    assert ROOF.ridge == 10
    placed = place_network("x", make_work(1100, 100), 22.0, roof=ROOF)
    assert (placed.bound, placed.roof_seconds, placed.fraction) == ("compute", 11.0, 0.5)


def test_work_before_the_ridge_is_bound_by_memory() -> None:
    placed = place_network("x", make_work(900, 100), 20.0, roof=ROOF)
    assert (placed.bound, placed.roof_seconds, placed.fraction) == ("memory", 10.0, 0.5)


@given(flops=sizes, moved=sizes, seconds=st.floats(1e-6, 1e6))
def test_achieved_figures_are_work_by_time(flops: int, moved: int, seconds: float) -> None:
    placed = place_network("x", make_work(flops, moved), seconds, roof=ROOF)
    assert placed.achieved_compute * seconds == pytest.approx(flops)
    assert placed.achieved_bandwidth * seconds == pytest.approx(moved)
    assert placed.intensity == pytest.approx(flops / moved)


@given(flops=sizes, moved=sizes)
def test_a_call_that_takes_what_the_roof_allows_has_all_of_it(flops: int, moved: int) -> None:
    least = max(flops / 100, moved / 10)
    assert place_network("x", make_work(flops, moved), least, roof=ROOF).fraction == pytest.approx(
        1
    )


def test_int8_layers_have_a_peak_of_their_own() -> None:
    placed = place_network("x", make_work(1000, 1, int8=600), 10.0, roof=ROOF)
    assert placed.roof_seconds == pytest.approx(400 / 100 + 600 / 200)


@pytest.mark.parametrize("roof", [Roof(None, 10.0), Roof(100.0, None), Roof(None, None)])
def test_without_a_peak_nothing_is_said_of_the_bound(roof: Roof) -> None:
    placed = place_network("x", make_work(1000, 100), 10.0, roof=roof)
    assert (placed.bound, placed.roof_seconds, placed.fraction) == ("unknown", None, None)
    assert placed.achieved_compute == 100


def test_int8_work_without_an_int8_peak_is_unknown() -> None:
    roof = replace(ROOF, int8=None)
    assert place_network("x", make_work(1000, 100, int8=1), 10.0, roof=roof).bound == "unknown"
    assert place_network("x", make_work(1000, 100), 10.0, roof=roof).bound == "compute"


def test_every_timed_network_is_placed_under_both_roofs(manifest: Manifest) -> None:
    medians = {"denoising_unet": 20.0, "vae_decoder": 10.0}
    found = draw_roofline(
        manifest, medians, peak=Roof(None, None, reason="no data sheet"), probe=ROOF
    )
    assert [network.name for network in found.by_probe] == ["denoising_unet", "vae_decoder"]
    assert [network.fraction for network in found.by_probe] == [0.5, 1.0]
    assert {network.bound for network in found.by_peak} == {"unknown"}


def test_a_bundle_without_work_says_what_to_do(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    assert find_work(manifest) is None
    found = draw_roofline(manifest, {"vae_decoder": 1.0}, peak=ROOF, probe=ROOF)
    assert (found.by_peak, found.by_probe, found.note) == ((), (), NOT_STORED)


def test_the_manifest_keeps_work_and_reads_it_back(manifest: Manifest) -> None:
    again = parse(Manifest, json.loads(json.dumps(dump(manifest))), where="manifest")
    assert find_work(again) == find_work(manifest) is not None


def test_a_manifest_with_less_than_no_work_is_refused(
    manifest: Manifest, null_bundle: Path
) -> None:
    def edit(data: dict[str, Any]) -> None:
        data.update(dump(manifest))
        data["networks"]["vae_decoder"]["work"]["by_group"]["other"]["mac_flops"] = -5

    edit_manifest(null_bundle, edit)
    with pytest.raises(BundleError, match=r"manifest.json: work: mac_flops is -5"):
        read_manifest(null_bundle)


def test_a_roofline_survives_its_json(manifest: Manifest) -> None:
    found = draw_roofline(
        manifest, {"denoising_unet": 2.0}, peak=ROOF, probe=Roof(None, 5.0, reason="no test")
    )
    assert parse(Roofline, json.loads(json.dumps(dump(found))), where="roofline") == found


@pytest.mark.parametrize("name", list_targets())
def test_every_target_s_roof_has_a_figure_or_a_reason(name: str) -> None:
    roof = find_roof(load_target(name))
    figures = (roof.compute, roof.bandwidth, roof.int8)
    assert bool(roof.reason) == (None in figures)
    assert bool(roof.source) == any(figures)


def test_a_target_s_units_become_plain_ones() -> None:
    roof = find_roof(load_target("jetson-orin"))
    assert (roof.compute, roof.bandwidth, roof.int8) == pytest.approx((42.6e12, 204.8e9, 85e12))


@given(st.lists(st.tuples(sizes, sizes, sizes), max_size=5))
def test_groups_add_up(parts: list[tuple[int, int, int]]) -> None:
    works = [Work(mac_flops=a, other_flops=b, weight_bytes=c) for a, b, c in parts]
    total = add_up(tuple(works))
    assert total.flops == sum(a + b for a, b, _ in parts)
    assert total.bytes == total.unfused_bytes == sum(c for *_, c in parts)
    assert NetworkWork({str(i): work for i, work in enumerate(works)}).flops == total.flops
