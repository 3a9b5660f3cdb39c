"""How profile pages look: the quality page's style, and colours and shapes of charts."""

from __future__ import annotations

from echoexport.profiles.pages.page_style import read_style

__all__ = ["find_colour", "read_profile_style"]

_COLOURS = {
    "sampling": 0,
    "engine": 7,
    "decode": 1,
    "encode": 2,
    "audio": 3,
    "reference": 4,
    "face": 5,
    "portrait": 6,
    "open": 6,
    "copy": 4,
    "stage": 6,
    "wait": 8,
    "unaccounted": 9,
}
_SPARE = 6


def read_profile_style() -> str:
    """The style sheet of profile pages, which is the quality page's and more."""
    return read_style("quality") + read_style("profile")


def find_colour(name: str) -> str:
    """The class of a stage or category; what has no colour of its own shares one."""
    return f"k{_COLOURS.get(name, _SPARE)}"
