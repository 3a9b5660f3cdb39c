"""Profiles side by side: differences, culprits, doubts and the matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from echoexport.profiles.pages.comparison_page import (
    format_comparison_markdown,
)
from echoexport.profiles.reports.limits import parse_limit
from echoexport.profiles.reports.profile import (
    ProfileReport,
)
from echoexport.profiles.reports.profile_compare import compare_profiles
from echoexport.runtime.errors import InputError


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
    null_report: ProfileReport, by: float, word: str, slow_down: Callable[..., ProfileReport]
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


def test_broken_limits_are_told_profile_by_profile(
    null_report: ProfileReport, slow_down: Callable[..., ProfileReport]
) -> None:
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
