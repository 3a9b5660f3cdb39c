"""A run of the gates: its cases, what it knows already, its report."""

from __future__ import annotations

import json

import pytest

from echoexport.export.demo.gates.clips import GateCase, measure_case
from echoexport.export.demo.gates.run import (
    GateReport,
    GateSettings,
    format_report,
    list_cases,
    run_gates,
)
from echoexport.export.demo.held_out import HeldOutClip, make_silent_clip
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError, SettingError


def test_a_run_goes_on_from_known_results_and_its_report_is_json(
    clips: list[HeldOutClip], cases: list[GateCase], gate_settings: GateSettings
) -> None:
    known = [measure_case(case, lambda *_, case=case: case.truth)[0] for case in cases[:-1]]
    fresh: list[str] = []
    report = run_gates(
        lambda *_: cases[0].truth,
        clips,
        settings=gate_settings,
        known=known[1:],
        on_clip=lambda result, frames, case: fresh.append(result.name),
    )
    assert fresh == [known[0].name]
    assert parse(GateReport, json.loads(json.dumps(dump(report))), where="report") == report
    assert format_report(report).count("\n") == len(report.lines) + 2


def test_too_few_held_out_clips_are_refused() -> None:
    with pytest.raises(InputError, match="40 speaking and 3 silent"):
        list_cases([make_silent_clip(1.0, name="quiet")], GateSettings())


def test_every_case_has_a_person_of_its_own_and_the_silent_come_last(
    clips: list[HeldOutClip], gate_settings: GateSettings
) -> None:
    cases = list_cases(clips, gate_settings)
    assert [case.person.seed for case in cases] == [1_000_000, 1_000_001, 1_000_002, 1_000_003]
    assert [case.clip.is_silent for case in cases] == [False, False, False, True]
    assert all(case.frames <= 50 for case in cases)


def test_gates_that_compare_clips_want_two_that_speak() -> None:
    with pytest.raises(SettingError, match="1 speaking and 3 silent"):
        GateSettings(clips=1)
