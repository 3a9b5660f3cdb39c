"""Engines of TensorRT: the builder of the backend asks for the product that its module names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echoexport.export.engines import BuiltEngine, EngineSettings, tensorrt
from echoexport.export.engines.nvidia.tensorrt_library import TENSORRT
from echoexport.runtime.contract.spec import SubnetSpec


def test_what_is_asked_for_reaches_the_build_of_this_product(
    product_spec: SubnetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    made = BuiltEngine(1.0, 2, 3)

    def build(*places: Any, **options: Any) -> BuiltEngine:
        given.extend((places, options))
        return made

    monkeypatch.setattr(tensorrt, "build_with", build)
    settings = EngineSettings(level=3)
    output = tmp_path / "product.plan"
    found = tensorrt.build_engine(
        tmp_path / "product.onnx", product_spec, output, settings=settings, report=print
    )
    assert found is made
    assert given == [
        (TENSORRT, tmp_path / "product.onnx", product_spec, output),
        {"settings": settings, "report": print},
    ]
