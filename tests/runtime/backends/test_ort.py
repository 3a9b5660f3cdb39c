"""ONNX Runtime on the CPU: what it has, and what it refuses by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, SettingError


def test_onnx_runtime_refuses_bf16_and_names_the_backend_that_has_it(
    arithmetic_graph: tuple[Path, SubnetSpec],
) -> None:
    with pytest.raises(
        SettingError, match=r"compute 'bf16': backend 'ort' has fp32 only; 'openvino' has bf16"
    ):
        load_backend("ort").open(*arithmetic_graph, EngineOptions(compute="bf16"))


# What a container does that has fewer cores than its machine: no thread can be bound to
# a core that is not the container's.
UNBOUND = "int pthread_setaffinity_np(void) { return 22; }\n"

OPEN = """
import sys
from pathlib import Path
from echoexport.runtime.backends.ort import make_settings, start_inference
from echoexport.runtime.engine.protocol import EngineOptions

start_inference(Path(sys.argv[1]), make_settings(EngineOptions()))
"""


def test_a_container_that_binds_no_threads_gets_no_lines_about_it(
    arithmetic_graph: tuple[Path, SubnetSpec], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler to stand in for such a container with")
    source = tmp_path / "unbound.c"
    source.write_text(UNBOUND)
    shim = tmp_path / "unbound.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", shim, source], check=True, timeout=60)
    outcome = subprocess.run(
        [sys.executable, "-c", OPEN, arithmetic_graph[0]],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=True,
        timeout=99,
    )
    assert (outcome.stdout, outcome.stderr) == ("", "")


def test_a_path_that_is_no_utf8_is_refused_in_a_users_words(
    arithmetic_graph: tuple[Path, SubnetSpec],
) -> None:
    pytest.importorskip("onnxruntime")
    graph, spec = arithmetic_graph
    with pytest.raises(BackendError, match="opens no path that is not UTF-8; give the folder"):
        load_backend("ort").open(
            graph.rename(graph.with_name("b\udcff.onnx")), spec, EngineOptions()
        )
