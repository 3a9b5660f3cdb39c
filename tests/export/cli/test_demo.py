"""``echoexport demo``: the built-in character, from its checkpoint to a video with its figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.cli.demo import describe_run, find_arithmetic, find_own_target
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import open_bundle

pytestmark = pytest.mark.skipif(
    load_backend("openvino").unavailable() is not None, reason="needs OpenVINO"
)


@pytest.mark.slow
def test_the_demo_builds_the_character_renders_it_and_prints_its_speed(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    outcome = command("demo", "-o", tmp_path / "demo")
    assert outcome.code == 0, outcome.err
    run = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert (run["report"]["frames"], run["report"]["fps"], run["steps"]) == (153, 25.0, 1)
    assert run["report"]["calls"]["vae_decoder"] == 153
    assert run["conditions"]["origin"] == "measured"
    assert f"{run['frames_per_second']:.1f} frames/s end to end" in outcome.out
    assert (tmp_path / "demo" / "out.mp4").stat().st_size > 20_000
    with open_bundle(tmp_path / "demo" / "bundle") as bundle:
        assert bundle.manifest.provenance.checkpoint == "echoexport-demo-character"
        assert bundle.manifest.sampler.live_steps == 6


def test_the_demo_computes_in_bf16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = load_backend("openvino")
    assert find_own_target() == "cpu-openvino"
    for has, wanted in (("BF16/FP32", "bf16"), ("FP32/INT8", "fp32")):
        monkeypatch.setattr(
            type(backend), "describe", lambda self, has=has: f"openvino 1, a processor, {has}"
        )
        assert find_arithmetic("cpu-openvino") == wanted
    assert find_arithmetic("cpu") == "fp32"


def test_what_a_system_does_not_tell_is_said_so_and_is_never_zero() -> None:
    run = {
        "report": {"frames": 50, "fps": 25.0, "calls": {"reference_unet": 0}},
        "frames_per_second": 30.0,
        "real_time_factor": 0.8333,
        "steps": 4,
        "cold_start_seconds": None,
        "peak_memory": None,
        "conditions": {"backend": "null: nothing", "compute": "fp32", "machine": {"cores": 2}},
    }
    speed, rest = describe_run(run)
    assert "30.0 frames/s" in speed and "real-time factor 0.83" in speed
    assert rest.count("not available on this system") == 2


@pytest.mark.parametrize(
    ("calls", "told"), [(0, "reference from the cache"), (1, "reference computed")]
)
def test_the_demo_says_where_the_portraits_reference_came_from(calls: int, told: str) -> None:
    run = {
        "report": {"frames": 50, "fps": 25.0, "calls": {"reference_unet": calls}},
        "frames_per_second": 30.0,
        "real_time_factor": 0.8333,
        "steps": 4,
        "cold_start_seconds": 1.5,
        "peak_memory": 397e6,
        "conditions": {"backend": "null: nothing", "compute": "fp32", "machine": {"cores": 2}},
    }
    assert f"peak memory 397 MB, {told}; null" in describe_run(run)[1]
