"""Where caches lie: references, engines, traces and progress, by one rule."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["Cache", "find_cache_folder"]

Cache = Literal["reference", "engines", "traces", "progress"]
"""What is kept, which is also how its folder is called."""

_SUBFOLDERS = ("engines", "progress")
"""What lies in a subfolder of a folder that a user names; the rest lies in that folder itself."""


def find_cache_folder(cache: Cache, *, given: Path | None = None) -> Path | None:
    """Where a cache lies: under the folder that is given, else in the user's cache folder.

    The user's is ``$ECHOEXPORT_CACHE``, else ``$XDG_CACHE_HOME/echoexport``, else
    ``~/.cache/echoexport``. None where no home folder is known: nothing is then kept.
    """
    if given is not None:
        return given / cache if cache in _SUBFOLDERS else given
    usual = _find_usual()
    return None if usual is None else usual / cache


def _find_usual() -> Path | None:
    if own := os.environ.get("ECHOEXPORT_CACHE"):
        return Path(own)
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if shared.is_absolute():  # the XDG specification says to ignore a relative one
        return shared / "echoexport"
    try:
        return Path.home() / ".cache" / "echoexport"
    except RuntimeError:
        return None
