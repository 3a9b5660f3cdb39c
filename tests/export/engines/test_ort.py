"""ONNX Runtime's engines: they give what the graph gives, without the portable bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from echoexport.export.engines import EngineSettings, ort
from echoexport.runtime.backends.ort import OrtBackend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, SettingError

pytest.importorskip("onnxruntime")


def silent(text: str) -> None:
    """A report that nobody reads."""


def test_the_engine_computes_without_the_portable_bundle(
    product_graph: Path, product_spec: SubnetSpec, tmp_path: Path
) -> None:
    output = tmp_path / "product.ort.onnx"
    built = ort.build_engine(
        product_graph, product_spec, output, settings=EngineSettings(), report=silent
    )
    beside = output.with_name(f"{output.name}.data")
    assert built.bytes == output.stat().st_size + beside.stat().st_size
    assert beside.stat().st_size >= 4 * 64 * 64
    shutil.rmtree(product_graph.parent)
    engine = OrtBackend().open_engine(output, product_spec, EngineOptions())
    x = np.arange(128, dtype=np.float32).reshape(2, 64)
    np.testing.assert_array_equal(engine({"x": x})["y"], 2 * x)
    engine.close()


def test_arithmetic_that_it_lacks_is_refused(
    product_graph: Path, product_spec: SubnetSpec, tmp_path: Path
) -> None:
    settings = EngineSettings(compute="bf16")
    with pytest.raises(SettingError, match="bf16"):
        ort.build_engine(
            product_graph, product_spec, tmp_path / "out.onnx", settings=settings, report=silent
        )
    assert not (tmp_path / "out.onnx").exists()


def test_a_graph_that_does_not_load_is_named(product_spec: SubnetSpec, tmp_path: Path) -> None:
    graph = tmp_path / "broken.onnx"
    graph.write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"broken\.onnx"):
        ort.build_engine(
            graph, product_spec, tmp_path / "o.onnx", settings=EngineSettings(), report=silent
        )
