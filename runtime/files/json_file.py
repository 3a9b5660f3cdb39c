"""JSON as files hold it: UTF-8, with or without the byte order mark that some editors write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json"]


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        OSError: it cannot be read.
        ValueError: see :func:`parse_json`.
    """
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> Any:
    r"""What the bytes of a JSON file say.

    Raises:
        ValueError: they are not UTF-8, not JSON, nested too deeply, or hold text that is
            none: half of a pair, such as ``\ud800``.
    """
    try:
        found = json.loads(content.decode("utf-8-sig"))
        if b"\\u" in content:
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"it holds half of a character, {half!r}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return found
