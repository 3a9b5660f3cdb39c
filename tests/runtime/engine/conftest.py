"""Fixtures of the engines' tests: the small network on a fake TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.engine.tensorrt_engine import TensorRTEngine
from echoexport.runtime.trace.tracer import NULL, Tracer


@pytest.fixture
def small(small_graph: Callable[..., tuple[Path, SubnetSpec]]) -> tuple[Path, SubnetSpec]:
    """The small network in float32."""
    return small_graph("float32")


@pytest.fixture
def open_small(
    small: tuple[Path, SubnetSpec], fakes: Any, make_tensorrt: Callable[..., Any], tmp_path: Path
) -> Callable[..., TensorRTEngine]:
    """A function that opens the small network on a fake TensorRT of a version, with faults."""

    def run(
        version: str = "10.3", *faults: str, options: EngineOptions | None = None, **plan: Any
    ) -> TensorRTEngine:
        make_tensorrt(version, *faults)
        written = {"version": plan.get("of", version), "device": plan.get("device")}
        path = fakes.write_plan(
            tmp_path / "small.plan", small[0], ["product", "difference"], **written
        )
        backend: Any = load_backend("tensorrt_rtx" if version.startswith("rtx") else "tensorrt")
        return backend.open_engine(path, small[1], options or EngineOptions())  # type: ignore[no-any-return]

    return run


@pytest.fixture(scope="session")
def inputs_of() -> Callable[..., dict[str, np.ndarray]]:
    """A function that gives the small network's inputs: 0 to 3 plus a number, and 0 to 3."""

    def make(noise: float, reference: np.ndarray | None = None) -> dict[str, np.ndarray]:
        steps = np.arange(4, dtype=np.float32)[None]
        return {
            "noise": steps + np.float32(noise),
            "reference": steps if reference is None else reference,
        }

    return make


@pytest.fixture(scope="session")
def wrong_outputs() -> Callable[..., dict[str, np.ndarray]]:
    """A function that gives a call's outputs without those that are right."""

    def find(
        engine: Any, inputs: dict[str, np.ndarray], *, tracer: Tracer = NULL
    ) -> dict[str, np.ndarray]:
        found = engine.run(inputs, tracer)
        noise = inputs["noise"]
        reference = inputs["reference"]
        wanted = {"difference": noise - reference, "product": noise * reference}
        return {
            name: found[name] for name in wanted if not np.array_equal(found[name], wanted[name])
        }

    return find
