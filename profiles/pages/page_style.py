"""How pages look: style sheets for light and dark, for phone, desk and paper."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["read_style"]


@cache
def read_style(name: str) -> str:
    """The style sheet ``data/NAME.css``, after a line break; it asks for no file or font."""
    entry = files("echoexport.profiles") / "data" / f"{name}.css"
    return "\n" + entry.read_text(encoding="utf-8")
