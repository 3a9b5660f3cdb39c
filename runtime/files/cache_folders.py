"""Where caches lie: references, engines, traces and progress, by one rule."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def default_cache_folder() -> Path | None:
    """Where entries are kept unless told otherwise.

    None (memory only) where no home folder is known.

    ``$ECHOEXPORT_CACHE``, else ``$XDG_CACHE_HOME/echoexport``, else
    ``~/.cache/echoexport``; in each the subfolder ``reference``.
    """
    own = os.environ.get("ECHOEXPORT_CACHE", "")
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own) / "reference"
    if Path(shared).is_absolute():  # the XDG specification says to ignore a relative one
        return Path(shared) / "echoexport" / "reference"
    try:
        return Path.home() / ".cache" / "echoexport" / "reference"
    except RuntimeError:
        return None


def default_progress_folder() -> Path:
    """Where progress is kept: ``progress``, beside the traces in the user's cache folder."""
    return default_trace_folder().with_name("progress")


def default_trace_folder() -> Path:
    """Where traces are kept: ``$ECHOEXPORT_CACHE/traces``, else under the user's cache folder."""
    own = os.environ.get("ECHOEXPORT_CACHE")
    if own:
        return Path(own) / "traces"
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "echoexport" / "traces"


def default_engine_folder() -> Path | None:
    """``engines`` in the user's cache folder, beside the references.

    None where no home folder is known.
    """
    usual = default_cache_folder()
    return None if usual is None else usual.parent / "engines"
