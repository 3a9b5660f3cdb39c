"""Small JSON files with a format, a version and a check sum of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from echoexport.runtime.contract.checksum import CHECKSUM, compute_checksum
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import SignatureError
from echoexport.runtime.files.aside import refuse_output, replaced_file
from echoexport.runtime.files.json_file import parse_json

__all__ = ["read_sealed_json", "write_sealed_json"]

_LARGEST = 1 << 20
_SCHEMA = 1
_KindT = TypeVar("_KindT")


def read_sealed_json(path: Path, kind: type[_KindT], *, form: str, remedy: str) -> _KindT:
    """A dataclass of a file that names its format ``form``, at most 1 MiB.

    ``remedy`` says what to do where it cannot be used.

    Raises:
        SignatureError: it cannot be read, is of another format or version, is not what
            its check sum says, or breaks the dataclass's schema.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"larger than {_LARGEST} bytes")
        data = parse_json(content, strict=True)
        if not isinstance(data, dict) or data.pop("format", None) != form:
            raise ValueError(f"not a file of format {form}")
        if (found := data.pop("schema", None)) != _SCHEMA:
            raise ValueError(f"schema version {str(found)[:20]}; this release reads {_SCHEMA}")
        if data.pop(CHECKSUM, None) != compute_checksum(data):
            raise ValueError("its check sum is not that of its values: it was changed or damaged")
        return parse(kind, data, where=path.name)
    except OSError as error:
        raise SignatureError(
            f"{path}: cannot be read: {error.strerror or error}; {remedy}"
        ) from error
    except ValueError as error:
        raise SignatureError(f"{path}: {error}; {remedy}") from error


def write_sealed_json(path: Path, value: Any, *, form: str, beside: Path | None = None) -> None:
    """What :func:`read_sealed_json` reads, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    values = dump(value)
    data = {"format": form, "schema": _SCHEMA, **values, CHECKSUM: compute_checksum(values)}
    with replaced_file(path, beside=beside, refuse=refuse_output) as aside:
        aside.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
