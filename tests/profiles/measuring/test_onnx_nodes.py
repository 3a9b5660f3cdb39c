"""Graphs read without onnx: as onnx itself reads them, and refused where they are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.measuring.onnx_nodes import GraphNode, read_graph
from echoexport.runtime.errors import GraphError


def test_the_graph_is_read_as_onnx_itself_reads_it(build_tiny: Any) -> None:
    onnx = pytest.importorskip("onnx")
    for path in sorted(build_tiny().glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        expected = [
            GraphNode(n.name, n.op_type, tuple(n.input), tuple(n.output)) for n in model.graph.node
        ]
        graph = read_graph(path)
        assert list(graph.nodes) == expected
        assert graph.parameters == {tensor.name for tensor in model.graph.initializer}


@given(st.binary(max_size=60))
def test_bytes_that_are_no_graph_are_refused_in_one_line(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(content)
        try:
            assert read_graph(path).nodes
        except GraphError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)


def test_a_cut_graph_is_refused(build_tiny: Any, tmp_path: Path) -> None:
    whole = (build_tiny() / "vae_decoder.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphError, match=r"cut\.onnx: not a readable ONNX file"):
        read_graph(tmp_path / "cut.onnx")
    with pytest.raises(GraphError, match=r"none\.onnx: cannot be read"):
        read_graph(tmp_path / "none.onnx")
