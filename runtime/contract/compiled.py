"""What a compiled bundle says of its engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NO_VALUE = "nothing"
SOURCE_MANIFEST = "source/manifest.json"
SOURCE_SIGNATURES = "source/signatures.json"
"""Copies of the portable bundle's own, in what was compiled of a signed one."""


@dataclass(frozen=True)
class CompiledEngine:
    """One network's engine, *measured* on the machine that compiled it."""

    files: tuple[str, ...]
    """The engine, then what it reads beside itself."""
    key: str
    """Its name in the engine cache."""
    compute: str
    """As in ``EngineOptions``."""
    precision: str
    """What it computes in."""
    seconds: float
    """How long its build took."""
    peak_bytes: int | None
    """The most memory that its build held."""
    error: float | None
    """Of its self-test, relative to each output's largest value, and at most
    ``tolerance``; None where it could not run there."""
    tolerance: float
    """What its self-test was held to."""
    notes: tuple[str, ...]
    """What does not run as it should, a line each."""


@dataclass(frozen=True)
class CompiledEngines:
    """The engines of a bundle: of which backend, for which machine, from which portable bundle."""

    backend: str
    """The one that opens them."""
    portable: str
    """That bundle's folder name."""
    source: str
    """Sha256 of its manifest file."""
    fingerprint: Mapping[str, str]
    """The backend's, all of which must be the same where the engines are opened."""
    engines: Mapping[str, CompiledEngine]
    """By network."""
    created: str
    """When they were built, UTC, ISO 8601."""
    tools: Mapping[str, str]
    """Versions by name of what built them."""
    settings: Mapping[str, Any]
    """How they were built."""

    @property
    def remedy(self) -> str:
        """What to do where the engines cannot be used."""
        return f"compile it again here: echoexport compile {self.portable}"
