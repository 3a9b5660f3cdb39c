"""OpenVINO's engines: the compiled model, weights included."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from echoexport.export.engines import EngineSettings, openvino
from echoexport.runtime.backends.openvino import OpenVINOBackend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError

pytest.importorskip("openvino")


def test_the_engine_computes_without_the_portable_bundle(
    product_graph: Path, product_spec: SubnetSpec, tmp_path: Path
) -> None:
    told: list[str] = []
    output = tmp_path / "product.blob"
    built = openvino.build_engine(
        product_graph, product_spec, output, settings=EngineSettings(), report=told.append
    )
    assert told == ["compiling", "exporting"]
    assert built.bytes == output.stat().st_size > 4 * 64 * 64
    assert built.seconds > 0
    shutil.rmtree(product_graph.parent)
    engine = OpenVINOBackend().open_engine(output, product_spec, EngineOptions())
    x = np.arange(128, dtype=np.float32).reshape(2, 64)
    np.testing.assert_allclose(engine({"x": x})["y"], 2 * x, rtol=1e-6)
    engine.close()


def test_a_model_that_does_not_export_is_named(
    product_graph: Path,
    product_spec: SubnetSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stubborn:
        """A compiled model that cannot be exported."""

        def export_model(self) -> None:
            """Fail as the library does."""
            raise RuntimeError("not on this plugin")

    monkeypatch.setattr(openvino, "compile_graph", lambda *given: Stubborn())
    wanted = r"product\.onnx: OpenVINO cannot export it: not on this plugin"
    with pytest.raises(BackendError, match=wanted):
        openvino.build_engine(
            product_graph,
            product_spec,
            tmp_path / "out.blob",
            settings=EngineSettings(),
            report=lambda text: None,
        )
    assert not (tmp_path / "out.blob").exists()


def test_a_graph_that_does_not_compile_is_named(product_spec: SubnetSpec, tmp_path: Path) -> None:
    graph = tmp_path / "broken.onnx"
    graph.write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"broken\.onnx"):
        openvino.build_engine(
            graph,
            product_spec,
            tmp_path / "out.blob",
            settings=EngineSettings(),
            report=lambda text: None,
        )
