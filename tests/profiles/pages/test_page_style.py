"""Style sheets: whole, for light and dark, and asking for nothing from elsewhere."""

from __future__ import annotations

import re

import pytest

from echoexport.profiles.pages.page_style import read_style


@pytest.mark.parametrize("name", ["quality", "profile"])
def test_a_style_sheet_is_whole_and_asks_for_nothing(name: str) -> None:
    style = read_style(name)
    assert style.startswith("\n:root {")
    assert style.count("{") == style.count("}")
    assert not re.search(r"url\(|@import|https?:|<", style)
    assert "@media (prefers-color-scheme: dark)" in style
    assert "@media print" in style


def test_every_colour_that_is_used_is_given_for_light_and_for_dark() -> None:
    style = read_style("quality")
    light, dark = (
        set(re.findall(r"(--[a-z]+):", part)) for part in style.split("* {")[0].split("@media")
    )
    assert set(re.findall(r"var\((--[a-z]+)\)", style)) <= light
    assert light == dark


def test_a_sheet_that_does_not_ship_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        read_style("nothing")
