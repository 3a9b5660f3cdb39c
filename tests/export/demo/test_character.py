"""The shipped character against the quality gates.

People, voices and sentences that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.demo.assets import (
    CHARACTER_SIZE,
    CHARACTER_STEPS,
    CHARACTER_VARIANT,
    builtin_checkpoint,
)
from echoexport.export.demo.gates.run import (
    GateReport,
    GateSettings,
    format_report,
    render_with,
    run_gates,
)
from echoexport.export.demo.gates.table import GATES
from echoexport.export.demo.held_out import read_held_out
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.targets.spec import load_target

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(load_backend("openvino").unavailable() is not None, reason="needs OpenVINO"),
]

HELD_OUT = Path(__file__).parent / "data" / "held_out.npz"
LARGEST = 24_000_000  # bytes of the whole checkpoint


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory, trace_folder: Path) -> Iterator[Bundle]:
    folder = tmp_path_factory.mktemp("character") / "bundle"
    settings = BuildSettings(
        variant=CHARACTER_VARIANT, size=CHARACTER_SIZE, traces=trace_folder, check="none"
    )
    build_bundle(
        builtin_checkpoint(), folder, target=load_target("cpu-openvino"), settings=settings
    )
    with open_bundle(folder, options=EngineOptions(lanes=0)) as bundle:
        yield bundle


@pytest.fixture(scope="module")
def report(character: Bundle) -> GateReport:
    """A sample of the full gate, which tests/benchmarks/bench_demo_quality.py runs."""
    # A minute of drift: the benchmark's.
    settings = GateSettings(clips=6, silent=1, steps=CHARACTER_STEPS, drift_seconds=0.0)
    clips = read_held_out(HELD_OUT)
    speaking = [c for c in clips if not c.is_silent][::7]
    silent = [c for c in clips if c.is_silent][:1]
    return run_gates(render_with(character, settings), speaking[:6] + silent, settings=settings)


def test_the_checkpoint_is_small() -> None:
    assert (
        sum(path.stat().st_size for path in builtin_checkpoint().rglob("*") if path.is_file())
        <= LARGEST
    )


def test_the_character_meets_every_gate_on_a_sample(report: GateReport) -> None:
    assert report.passed, format_report(report)


def test_every_limit_but_that_on_drift_was_judged(report: GateReport) -> None:
    judged = {line.name for line in report.lines}
    assert {gate.name for gate in GATES} - judged <= {
        gate.name for gate in GATES if "drift" in gate.name
    }
