"""Profiles side by side: differences, culprits, doubts and the matrix."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from echoexport.profiles.measuring.latency import format_json
from echoexport.profiles.pages.comparison_page import (
    format_comparison_markdown,
    format_comparison_page,
)
from echoexport.profiles.reports.limits import parse_limit
from echoexport.profiles.reports.profile import (
    ModeReport,
    NetworkTimes,
    ProfileReport,
    Timing,
    make_timing,
)
from echoexport.profiles.reports.profile_compare import ProfileComparison, compare_profiles
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError


def slow_down(report: ProfileReport, network: str, *, by: float) -> ProfileReport:
    """The same profile, with one network's calls that many times as slow."""

    def stretch(timing: Timing) -> Timing:
        found = make_timing(
            tuple(tuple(by * value for value in repeat) for repeat in timing.samples)
        )
        assert found is not None
        return found

    def change(mode: ModeReport) -> ModeReport:
        networks = tuple(
            NetworkTimes(one.name, one.calls, stretch(one.host), one.device)
            if one.name == network
            else one
            for one in mode.networks
        )
        return replace(mode, networks=networks)

    return replace(report, modes=tuple(change(mode) for mode in report.modes))


def test_a_profile_does_not_differ_from_itself(null_report: ProfileReport) -> None:
    comparison = compare_profiles([null_report, null_report], ["a", "b"])
    assert comparison.culprits == ((),)
    assert not [
        row.name
        for row in comparison.rows
        for change in row.changes
        if change and change.exceeds_noise
    ]
    assert "b: no network differs by more than noise" in format_comparison_markdown(comparison)


@pytest.mark.parametrize(("by", "word"), [(1.5, "slower"), (0.5, "faster")])
def test_the_network_that_changed_is_named_and_no_other(
    null_report: ProfileReport, by: float, word: str
) -> None:
    comparison = compare_profiles(
        [null_report, slow_down(null_report, "vae_decoder", by=by)], ["a", "b"]
    )
    assert [line.partition(":")[0] for line in comparison.culprits[0]] == [f"vae_decoder is {word}"]
    changed = {
        row.name
        for row in comparison.rows
        for change in row.changes
        if change and change.exceeds_noise
    }
    assert changed == {"vae_decoder.p50", "overlapped.vae_decoder.p50"}


def test_broken_limits_are_told_profile_by_profile(null_report: ProfileReport) -> None:
    limits = [parse_limit("vae_decoder.p50>+5%"), parse_limit("fps<1000000")]
    comparison = compare_profiles(
        [null_report, slow_down(null_report, "vae_decoder", by=2)], ["a", "b"], limits=limits
    )
    assert [failure.split(": ")[:2] for failure in comparison.failures] == [
        ["b", "vae_decoder.p50>+5%"],
        ["a", "fps<1000000"],
        ["b", "fps<1000000"],
    ]


def test_devices_and_ways_of_computing_make_a_matrix(null_report: ProfileReport) -> None:
    machine = replace(null_report.conditions.machine, processor="Orin Nano")
    orin = replace(null_report, conditions=replace(null_report.conditions, machine=machine))
    int8 = replace(orin, bundle=replace(orin.bundle, compute="int8"))
    comparison = compare_profiles([null_report, orin, int8], ["a", "b", "c"])
    assert [device.split(",")[0] for device in comparison.devices][1:] == ["Orin Nano"]
    assert [way.split(",")[0] for way in comparison.ways] == ["null fp32", "null int8"]
    assert [[bool(cell) for cell in row] for row in comparison.matrix] == [
        [True, False],
        [True, True],
    ]


def test_other_settings_and_noise_are_told_as_doubts(null_report: ProfileReport) -> None:
    other = replace(null_report, settings=replace(null_report.settings, steps=9, repeats=1))
    noisy = replace(
        null_report, verdict=replace(null_report.verdict, noisy="the machine was noisy: x")
    )
    notes = compare_profiles([null_report, other, noisy], ["a", "b", "c"]).notes
    assert notes == (
        "b: 1 repeats are too few for intervals to be trusted",
        "c: the machine was noisy: x",
        f"b: steps 9, the first has {null_report.settings.steps}",
    )


def test_names_that_are_alike_are_told_apart(null_report: ProfileReport) -> None:
    assert compare_profiles([null_report] * 3, ["a", "b", "a"]).labels == ("a (1)", "b", "a (3)")
    with pytest.raises(InputError, match="no profile"):
        compare_profiles([], [])


def test_a_comparison_comes_back_from_json_and_has_a_page(null_report: ProfileReport) -> None:
    comparison = compare_profiles(
        [null_report, slow_down(null_report, "vae_decoder", by=2)], ["a<b", "c&d"]
    )
    again = parse(ProfileComparison, json.loads(format_json(dump(comparison))), where="comparison")
    assert again == comparison
    page = format_comparison_page(comparison)
    assert page.startswith("<!DOCTYPE html>")
    assert "a&lt;b" in page and "a<b" not in page
    assert "vae_decoder is slower" in page
