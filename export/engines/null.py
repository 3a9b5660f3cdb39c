"""Engines of the backend that computes nothing.

A note of the network's name, for testing what is around them.
"""

from __future__ import annotations

import json
from pathlib import Path

from echoexport.export.engines import BuiltEngine, EngineSettings
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.progress import Tell

REVISION = 1


def build_engine(
    graph: Path, spec: SubnetSpec, output: Path, *, settings: EngineSettings, report: Tell
) -> BuiltEngine:
    """Write the note; the graph is not read."""
    report("noting the network's name")
    output.write_text(json.dumps({"network": spec.name}), encoding="utf-8")
    return BuiltEngine(0.0, output.stat().st_size, None)
