"""Strict reading of YAML.

Every key is asked for once, and what is wrong is named by file and key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from echoexport.targets.errors import TargetError

__all__ = ["LARGEST_FILE", "StrictLoader", "Table", "parse_table"]

LARGEST_FILE = 64 * 1024
"""Bytes; a target file is a page of text, anything larger is another kind of file."""


def parse_table(content: bytes, file: str) -> Table:
    """The file's top mapping.

    ``TargetError`` naming ``file`` if it is not plain YAML, each key once.
    """
    if len(content) > LARGEST_FILE:
        raise TargetError(f"{file}: is larger than {LARGEST_FILE} bytes, so no target file")
    try:
        parsed = yaml.load(content.decode("utf-8"), Loader=StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise TargetError(f"{file}: {line}{error.problem or 'is not YAML'}") from error
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # control characters, bad UTF-8, bad dates
        raise TargetError(f"{file}: is not YAML text ({type(error).__name__})") from error
    return Table(parsed, file, "")


class Table:
    """One mapping of the file, taken apart key by key.

    What is left at ``finish`` is an unknown key.
    """

    def __init__(self, content: object, file: str, path: str) -> None:
        self._file = file
        self._path = path
        if not isinstance(content, dict):
            raise self.error("", f"must be a mapping of keys to values, not {content!r}")
        self._content = dict(content)

    def table(self, key: str) -> Table:
        """The mapping under ``key``."""
        return Table(self._take(key), self._file, self._full(key))

    def tables(self, key: str) -> list[Table]:
        """The list of mappings under ``key``."""
        content = self.value(key, lambda v: isinstance(v, list), "a list")
        return [
            Table(item, self._file, f"{self._full(key)}[{i}]") for i, item in enumerate(content)
        ]

    def value(self, key: str, fits: Callable[[Any], bool], wanted: str) -> Any:
        """The value under ``key``, which must pass ``fits``.

        ``wanted`` says in words what would.
        """
        content = self._take(key)
        if not fits(content):
            raise self.error(key, f"must be {wanted}, not {content!r}")
        return content

    def text(self, key: str) -> str:
        """One line of text under ``key``."""
        return str(
            self.value(key, _is_line, "one line of text (quoted, if it looks like a number)")
        )

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        """One of ``known`` under ``key``."""
        fits = lambda v: isinstance(v, str) and v in known  # noqa: E731
        return str(self.value(key, fits, f"one of {', '.join(known)}"))

    def holds(self, key: str) -> bool:
        """Whether ``key`` is there and nobody asked for it yet."""
        return key in self._content

    def finish(self) -> None:
        """Refuse what nobody asked for."""
        if self._content:
            raise self.error(str(next(iter(self._content))), "is an unknown key")

    def error(self, key: str, problem: str) -> TargetError:
        """The error for ``key``, naming the file and the way to the key."""
        return TargetError(f"{self._file}: {self._full(key) or 'the file'} {problem}")

    def _take(self, key: str) -> Any:
        if key not in self._content:
            raise self.error(key, "is missing")
        return self._content.pop(key)

    def _full(self, key: str) -> str:
        return ".".join(part for part in (self._path, key) if part)


class StrictLoader(yaml.SafeLoader):
    """Plain data only: no objects, no repeated keys, no merging of mappings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are plain words, each given once."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or name == "<<" or name in seen:
                problem = (
                    f"key {name!r} is given twice" if name in seen else "a key must be a plain word"
                )
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value == value.strip() and value != "" and value.isprintable()
