"""A profile as Markdown: columns that keep, and what is missing said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from echoexport.profiles.measuring.sensor_log import Reading
from echoexport.profiles.measuring.sensors import NOT_AVAILABLE
from echoexport.profiles.pages.profile_markdown import (
    describe_reading,
    format_markdown,
    format_rows,
    list_facts,
)
from echoexport.profiles.reports.profile import ProfileReport


def test_markdown_keeps_its_columns() -> None:
    assert format_rows(("a", "b"), [["x|y", "z"]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | z |",
    ]


def test_a_profile_becomes_its_verdict_its_facts_and_two_tables(null_report: ProfileReport) -> None:
    text = format_markdown(null_report)
    assert text.startswith(f"**{null_report.verdict.line}**\n")
    for name, fact in list_facts(null_report):
        assert f"| {name} | {fact} |" in text
    turns = null_report.modes[-1]
    assert all(f"| {network.name} |" in text for network in turns.networks)


def test_noise_is_told_before_any_figure(null_report: ProfileReport) -> None:
    noisy = replace(null_report, verdict=replace(null_report.verdict, noisy="the fan ran"))
    text = format_markdown(noisy)
    assert "Take care: the fan ran." in text.partition("| what |")[0]


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (Reading(None, "J", "no rail"), "no rail"),
        (Reading(None, "J", ""), NOT_AVAILABLE),
        (Reading(2.5e6, "bytes", "x"), "2.5 MB"),
        (Reading(12.345, "W", "x"), "12.3 W"),
    ],
)
def test_a_reading_has_its_unit_or_says_why_there_is_none(reading: Reading, told: str) -> None:
    assert describe_reading(reading) == told
