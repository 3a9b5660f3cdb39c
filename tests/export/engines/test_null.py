"""Engines of the backend that computes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from echoexport.export.engines import EngineSettings, null
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions


def test_the_engine_is_a_note_of_the_networks_name(
    product_spec: SubnetSpec, tmp_path: Path
) -> None:
    told: list[str] = []
    output = tmp_path / "product.json"
    built = null.build_engine(
        tmp_path / "there-is-none.onnx",
        product_spec,
        output,
        settings=EngineSettings(),
        report=told.append,
    )
    assert json.loads(output.read_text()) == {"network": "product"}
    assert (built.seconds, built.bytes, built.peak_bytes) == (0.0, output.stat().st_size, None)
    assert told == ["noting the network's name"]


def test_its_backend_opens_it_and_gives_zeros(product_spec: SubnetSpec, tmp_path: Path) -> None:
    output = tmp_path / "product.json"
    settings = EngineSettings()
    null.build_engine(output, product_spec, output, settings=settings, report=lambda text: None)
    engine = NullBackend().open_engine(output, product_spec, EngineOptions())
    found = engine({"x": np.ones((2, 64), np.float32)})
    assert found["y"].shape == (2, 64)
    assert not found["y"].any()
