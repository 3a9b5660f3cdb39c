"""A tuning as a page and as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from echoexport.profiles.pages.tuning_page import format_tuning_page, format_tuning_table


def test_the_table_has_the_quickest_first_and_says_who_is_who(
    make_tuning: Callable[..., Any],
) -> None:
    lines = format_tuning_table(make_tuning()).splitlines()
    assert lines[0].split()[:4] == ["bundle", "steps", "overlap", "decoder"]
    assert [line.split()[1] for line in lines[1:]] == ["1", "2", "3", "6"]
    assert lines[1].endswith("SSIM 0.9 < 0.95")
    assert lines[2].endswith("chosen")
    assert lines[3].endswith("holds")
    assert lines[4].endswith("default; reference")


def test_a_default_that_stays_is_told(make_tuning: Callable[..., Any]) -> None:
    report = make_tuning()
    lines = format_tuning_table(replace(report, chosen=report.present)).splitlines()
    assert lines[4].endswith("default, kept; reference")


def test_columns_stand_below_each_other(make_tuning: Callable[..., Any]) -> None:
    lines = format_tuning_table(make_tuning()).splitlines()
    place = lines[0].index("decoder")
    assert {line[place:].split()[0] for line in lines[1:]} == {"vae_decoder"}


def test_a_lip_sync_that_was_not_measured_is_a_dash(make_tuning: Callable[..., Any]) -> None:
    assert "  -  " in format_tuning_table(make_tuning())


def test_the_page_is_whole_and_has_picture_table_and_conditions(
    make_tuning: Callable[..., Any], read_page: Callable[[str], Any]
) -> None:
    page = read_page(format_tuning_page(make_tuning()))
    assert page.open == []
    assert page.tags.count("svg") == 1 and page.tags.count("tr") == 5
    assert "chosen: 2 steps, overlap 1, fp32" in page.text
    assert "Against: 6 steps, overlap 1, fp32" in page.text


def test_the_page_asks_for_nothing(
    make_tuning: Callable[..., Any], read_page: Callable[[str], Any]
) -> None:
    page = read_page(format_tuning_page(make_tuning()))
    assert not [value for name, value in page.attributes if name in ("src", "href")]
