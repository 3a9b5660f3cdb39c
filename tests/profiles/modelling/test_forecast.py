"""Forecasts: every board has one or a reason, and what is not known is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from echoexport.profiles.modelling.forecast import LAUNCH_CAVEAT, Forecast, make_forecast
from echoexport.profiles.modelling.forecast_options import (
    read_option_costs,
)
from echoexport.profiles.modelling.pace import (
    BAND,
)
from echoexport.profiles.modelling.roofline import (
    NOT_STORED,
    Roof,
    Roofline,
)
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.contract.network_work import NetworkWork, Work
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.sampling.sampler import SamplingSettings
from echoexport.targets.spec import list_targets, load_target


def test_networks_of_tiny_kernels_are_no_more_than_perhaps_real_time_on_a_gpu(
    null_bundle: Path, empty_roofline: Roofline
) -> None:
    plain = read_manifest(null_bundle)
    work = NetworkWork({"other": Work(mac_flops=10**9, fused_bytes=10**8, kernels=1000)})
    entries = {name: replace(entry, work=work) for name, entry in plain.networks.items()}
    forecast = make_forecast(
        replace(plain, networks=entries),
        SamplingSettings(2, 1.0, 1),
        fps=24.0,
        roofline=empty_roofline,
        targets=[load_target("a100")],
    )
    (board,) = forecast.boards
    assert board.fps_low is not None and board.fps_low > 24
    assert (board.real_time, board.caveat) == ("perhaps", LAUNCH_CAVEAT)


def test_every_target_has_a_forecast_or_a_reason(
    full_size: Callable[[int], Manifest], empty_roofline: Roofline
) -> None:
    targets = [load_target(name) for name in list_targets()]
    forecast = make_forecast(
        full_size(512),
        SamplingSettings(6, 1.0, 3),
        fps=25.0,
        roofline=empty_roofline,
        targets=targets,
    )
    assert [board.target for board in forecast.boards] == list(list_targets())
    for board in forecast.boards:
        assert board.origin == "modelled"
        if board.fps_low is None:
            assert (board.real_time, board.bound) == ("unknown", "unknown") and board.reason
        else:
            assert board.fps_high == pytest.approx(2 * board.fps_low) and not board.reason
            assert board.fps_here is None


def test_the_own_board_stands_under_the_probe_where_it_has_no_data_sheet(
    full_size: Callable[[int], Manifest], empty_roofline: Roofline
) -> None:
    manifest = full_size(512)
    sampling = SamplingSettings(6, 1.0, 3)
    roofline = replace(empty_roofline, probe=Roof(1e12, 1e11, source="tested"))
    targets = [load_target("cpu"), load_target("cpu-openvino")]
    boards = make_forecast(manifest, sampling, fps=25.0, roofline=roofline, targets=targets).boards
    assert manifest.target == "cpu"
    assert boards[0].fps_low is not None and boards[0].precision == "stored"
    assert boards[1].fps_low is None and boards[1].reason


def test_a_forecast_lists_its_inputs_and_survives_its_json(
    full_size: Callable[[int], Manifest], roof_of: Callable[[str], Roof], empty_roofline: Roofline
) -> None:
    targets = [load_target("jetson-orin")]
    manifest = replace(full_size(512), target="jetson-orin")
    forecast = make_forecast(
        manifest, SamplingSettings(6, 1.0, 3), fps=25.0, roofline=empty_roofline, targets=targets
    )
    assert parse(Forecast, json.loads(json.dumps(dump(forecast))), where="forecast") == forecast
    inputs = forecast.inputs
    assert inputs is not None and (inputs.width, inputs.steps, inputs.window, inputs.overlap) == (
        512,
        6,
        12,
        3,
    )
    assert forecast.costs_note.startswith(read_option_costs().note)
    roof = roof_of("jetson-orin")
    assert roof.compute is not None and roof.bandwidth is not None
    seconds = sum(
        inputs.calls[name]
        * max(inputs.flops[name] / roof.compute, inputs.bytes[name] / roof.bandwidth)
        for name in inputs.calls
    )
    assert forecast.boards[0].fps_low == pytest.approx(BAND[0] / seconds), (
        "by the formula, from the inputs it lists"
    )


def test_a_bundle_without_work_has_no_forecast(null_bundle: Path, empty_roofline: Roofline) -> None:
    forecast = make_forecast(
        read_manifest(null_bundle),
        SamplingSettings(2, 1.0, 1),
        fps=24.0,
        roofline=empty_roofline,
        targets=[load_target("a100")],
    )
    assert (forecast.inputs, forecast.boards, forecast.options, forecast.note) == (
        None,
        (),
        (),
        NOT_STORED,
    )
