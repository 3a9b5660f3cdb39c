"""Colours of profiles: every class is one that the style sheet knows."""

from __future__ import annotations

import pytest

from echoexport.profiles.pages.page_style import read_style
from echoexport.profiles.pages.profile_style import find_colour, read_profile_style
from echoexport.profiles.reports.mode_report import UNACCOUNTED


def test_profile_pages_look_as_the_quality_page_and_more() -> None:
    style = read_profile_style()
    assert style.startswith(read_style("quality"))
    assert style.endswith(read_style("profile"))


@pytest.mark.parametrize(
    "name", ["sampling", "engine", "decode", "encode", "audio", "wait", UNACCOUNTED, "unheard of"]
)
def test_every_name_has_a_colour_that_the_style_sheet_gives(name: str) -> None:
    style = read_profile_style()
    colour = find_colour(name)
    assert f".{colour} {{ --c: var(--{colour}); }}" in style
    assert style.count(f"--{colour}: #") >= 2  # for light and for dark


def test_names_without_a_colour_of_their_own_share_one() -> None:
    assert find_colour("unheard of") == find_colour("another")
    assert len({find_colour(name) for name in ("sampling", "decode", "engine", "wait")}) == 4
