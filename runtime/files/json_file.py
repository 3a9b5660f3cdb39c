"""JSON as files hold it: UTF-8, with or without the byte order mark that some editors write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json"]


def read_json(path: Path, *, strict: bool = False) -> Any:
    """What a JSON file says; a ``strict`` reading takes no key twice.

    Raises:
        OSError: it cannot be read.
        ValueError: see :func:`parse_json`.
    """
    return parse_json(path.read_bytes(), strict=strict)


def parse_json(content: bytes, *, strict: bool = False) -> Any:
    r"""What the bytes of a JSON file say.

    Raises:
        ValueError: they are not UTF-8, not JSON, nested too deeply, or hold text that is
            none: half of a pair, such as ``\ud800``. Read ``strict``: or an object has a
            key twice, of which readers choose the one or the other.
    """
    hook = _take_once if strict else None
    try:
        found = json.loads(content.decode("utf-8-sig"), object_pairs_hook=hook)
        if b"\\u" in content:
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"it holds half of a character, {half!r}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return found


def _take_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"it holds the key {twice[:60]!r} twice")
    return found
