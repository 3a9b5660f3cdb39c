"""The manifest's check sum: a value that changed is noticed, however the file is laid out.

It is the sha256 of the canonical form. Whoever can write a manifest can write its sum as
well: it is against damage, not against people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["CHECKSUM", "compute_checksum", "encode_canonical", "require_checksum"]

CHECKSUM = "checksum"
"""The manifest's key that holds it; bundles that are older than it have none."""


def encode_canonical(data: Mapping[str, Any]) -> bytes:
    r"""The canonical form of a manifest: the same bytes for the same values.

    ``data`` is the manifest as its JSON reads; its own key ``checksum`` is left out. What
    is left is written as JSON in UTF-8 without a byte order mark or a line's end: the
    keys of every object sorted by code points, ``,`` and ``:`` without spaces. Text is
    written as it is, but for ``\"``, ``\\``, ``\b``, ``\f``, ``\n``, ``\r``, ``\t`` and
    ``\u00xx`` in small hex for what else lies below a space. Whole numbers are their
    digits; others, also where they are whole, the shortest decimal that reads back as the
    same double, as Python's ``repr`` spells it (``24.0``, ``1e-05``).

    Raises:
        ValueError: a number that is not finite, half of a character, or nested too
            deeply.
    """
    rest = {key: value for key, value in data.items() if key != CHECKSUM}
    try:
        text = json.dumps(
            rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return text.encode()


def compute_checksum(data: Mapping[str, Any]) -> str:
    """sha256 of a manifest's canonical form, in hex.

    Raises:
        ValueError: as :func:`encode_canonical`.
    """
    return hashlib.sha256(encode_canonical(data)).hexdigest()


def require_checksum(data: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where a manifest has a check sum, and it is another one's."""
    if CHECKSUM not in data:
        return
    found = compute_checksum(data)
    if data[CHECKSUM] != found:
        raise ValueError(
            f"its {CHECKSUM} is {str(data[CHECKSUM])[:64]!r}, its values have {found}: it was "
            "changed or damaged; build or copy the bundle again"
        )
