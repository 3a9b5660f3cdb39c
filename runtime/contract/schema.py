"""Strict reading of JSON into frozen dataclasses.

An unknown key, a missing key or a wrong type is an error. A key may be missing only
where its field has a default: that is how a schema grows.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

ParsedT = TypeVar("ParsedT")


def parse(kind: type[ParsedT], data: Any, *, where: str) -> ParsedT:
    """``data``, as read from JSON, as a ``kind``.

    Supports dataclasses, str, int, float, bool, None, unions of these, ``tuple[...]``
    and ``Mapping[str, ...]``.

    Raises:
        ValueError: the data does not fit; the message names the place, what was wanted
            and what was found.
    """
    return typing.cast("ParsedT", _parse(kind, data, where))


def dump(value: Any) -> Any:
    """The JSON form of a value that :func:`parse` reads back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: dump(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [dump(item) for item in value]
    return value


def find_large_number(data: Any, *, limit: int) -> int | None:
    """A whole number in JSON that is as large as ``limit``, whatever its sign; None for none.

    What lies in fields that may hold anything is looked at too.
    """
    left = [data]
    while left:
        item = left.pop()
        if isinstance(item, int) and abs(item) >= limit:
            return item
        left += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return None


def _parse(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, data, where)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(typing.get_args(kind), data, where)
    if origin is tuple:
        return _parse_tuple(typing.get_args(kind), data, where)
    if origin is not None and issubclass(origin, Mapping):
        _check(isinstance(data, dict), where, "an object", data)
        item = typing.get_args(kind)[1]
        return {key: _parse(item, value, f"{where}.{key}") for key, value in data.items()}
    return _parse_scalar(kind, data, where)


def _parse_dataclass(kind: Any, data: Any, where: str) -> Any:
    _check(isinstance(data, dict), where, "an object", data)
    hints, optional = _read_fields(kind)
    for key in data:
        if key not in hints:
            raise ValueError(f"{where}: unknown key {key!r}; known: {', '.join(hints)}")
    for name in hints:
        if name not in data and name not in optional:
            raise ValueError(f"{where}: missing key {name!r}")
    return kind(
        **{
            name: _parse(hint, data[name], f"{where}.{name}")
            for name, hint in hints.items()
            if name in data
        }
    )


@cache
def _read_fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass's fields, and the names of those that may be missing."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    optional = frozenset(
        field.name
        for field in fields
        if not (field.default is missing and field.default_factory is missing)
    )
    return {field.name: hints[field.name] for field in fields}, optional


def _parse_union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    return _parse(next(kind for kind in kinds if kind is not type(None)), data, where)


def _parse_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    _check(isinstance(data, list), where, "a list", data)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_parse(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    _check(len(data) == len(kinds), where, f"{len(kinds)} items", data)
    return tuple(
        _parse(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, data, strict=True))
    )


def _parse_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if kind is float:
        return _parse_float(data, where)
    _check(
        isinstance(data, kind) and (kind is bool or not isinstance(data, bool)),
        where,
        f"a {kind.__name__}",
        data,
    )
    return data


def _parse_float(data: Any, where: str) -> float:
    """A float as JSON has it: finite.

    Python's reader takes NaN, infinity, and whole numbers of any length.
    """
    _check(isinstance(data, (int, float)) and not isinstance(data, bool), where, "a float", data)
    _check(
        math.isfinite(data) if isinstance(data, float) else abs(data) < 1 << 53,
        where,
        "a finite float",
        data,
    )
    return float(data)


def _check(holds: bool, where: str, wanted: str, found: Any) -> None:
    if not holds:
        raise ValueError(f"{where}: wanted {wanted}, found {str(found)[:60]!r}")
