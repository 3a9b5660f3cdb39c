"""Builders of the null backend that are watched, or fail, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.engines import BuiltEngine, null


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Networks in the order in which engines are built."""
    names: list[str] = []
    real = null.build_engine

    def build(graph: Path, spec: Any, output: Path, **options: Any) -> BuiltEngine:
        names.append(spec.name)
        return real(graph, spec, output, **options)

    monkeypatch.setattr(null, "build_engine", build)
    return names


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """A function that lets the building of one network fail, its engine half written."""
    real = null.build_engine

    def arrange(name: str, error: BaseException) -> None:
        def build(graph: Path, spec: Any, output: Path, **options: Any) -> BuiltEngine:
            if spec.name == name:
                output.write_text("half")
                raise error
            return real(graph, spec, output, **options)

        monkeypatch.setattr(null, "build_engine", build)

    return arrange


@pytest.fixture
def entries() -> Callable[[Path], list[str]]:
    """A function that gives the networks in a cache, sorted."""

    def read(cache: Path) -> list[str]:
        found = (json.loads(path.read_text()) for path in cache.glob("*/engine.json"))
        return sorted(each["made_of"]["network"] for each in found)

    return read


@pytest.fixture
def leftovers() -> Callable[[Path], list[Path]]:
    """A function that gives hidden files and folders that no one should have left."""
    return lambda folder: sorted(folder.rglob(".*"))
