"""The listing of backends, and what every one of them does alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import list_backends, load_backend
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import (
    BackendError,
    MissingPackageError,
    UnknownNameError,
)

ENGINES = ("ort", "openvino")
PACKAGES = {"ort": "onnxruntime", "openvino": "openvino"}


@pytest.fixture(params=ENGINES)
def backend(request: pytest.FixtureRequest) -> Any:
    found = load_backend(request.param)
    if found.unavailable() is not None:
        pytest.skip(found.unavailable() or "")
    return found


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``import package`` fail as if it were not installed."""
    monkeypatch.setitem(sys.modules, package, None)


def test_the_support_list_is_the_folders_listing() -> None:
    assert {"null", "openvino", "ort"} <= set(list_backends())
    for name in list_backends():
        assert load_backend(name).name == name


def test_an_unknown_backend_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown backend 'openvno'; known: .*Did you mean 'openvino'\?"
    ):
        load_backend("openvno")


@pytest.mark.parametrize("name", ["__init__", "../bundle", "", "null.py"])
def test_what_is_no_backends_name_is_not_imported(name: str) -> None:
    with pytest.raises(UnknownNameError):
        load_backend(name)


@pytest.mark.parametrize("name", ENGINES)
def test_a_backend_whose_library_is_not_installed_names_the_extra(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arithmetic_spec: Callable[..., SubnetSpec],
) -> None:
    hide(PACKAGES[name], monkeypatch)
    extra = rf"pip install 'echoexport\[{PACKAGES[name]}\]'"
    assert extra.replace("\\", "") in (load_backend(name).unavailable() or "")
    with pytest.raises(MissingPackageError, match=extra):
        load_backend(name).open(
            tmp_path / "graph.onnx", arithmetic_spec("float32"), EngineOptions()
        )


def test_every_engine_computes_by_name(
    backend: Any, arithmetic_graph: tuple[Path, SubnetSpec]
) -> None:
    path, spec = arithmetic_graph
    network = Network(spec, backend.open(path, spec, EngineOptions()))
    left = np.array([[1, 2, 3, 4]])
    right = np.array([[4, 3, 2, 1]])
    found = network({"right": right, "left": left})
    np.testing.assert_array_equal(found["difference"], left - right)
    np.testing.assert_array_equal(found["product"], left * right)
    assert {name: array.dtype.name for name, array in found.items()} == {
        t.name: t.dtype for t in spec.outputs
    }
    assert network.precision == {"float32": "fp32", "float16": "fp16"}[spec.inputs[0].dtype]


def test_outputs_of_one_call_survive_the_next(
    backend: Any, arithmetic_graph: tuple[Path, SubnetSpec]
) -> None:
    path, spec = arithmetic_graph
    network = Network(spec, backend.open(path, spec, EngineOptions(threads=1)))
    ones = np.ones((1, 4))
    first = network({"left": ones, "right": ones})
    network({"left": 5 * ones, "right": ones})
    np.testing.assert_array_equal(first["product"], ones)


def test_a_closed_engine_is_refused(
    backend: Any, arithmetic_graph: tuple[Path, SubnetSpec]
) -> None:
    path, spec = arithmetic_graph
    network = Network(spec, backend.open(path, spec, EngineOptions()))
    network.close()
    network.close()
    with pytest.raises(BackendError, match="this engine is closed"):
        network({"left": np.ones((1, 4)), "right": np.ones((1, 4))})


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_a_graph_that_is_broken_or_missing_is_refused_with_its_name(
    backend: Any, tmp_path: Path, content: bytes | None, arithmetic_spec: Callable[..., SubnetSpec]
) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        BackendError, match=r"broken\.onnx: .* cannot (load|compile) it: "
    ) as caught:
        backend.open(path, arithmetic_spec("float32"), EngineOptions())
    assert "\n" not in str(caught.value)


def test_inputs_that_an_engine_refuses_are_a_backend_error(
    backend: Any, arithmetic_graph: tuple[Path, SubnetSpec]
) -> None:
    path, spec = arithmetic_graph
    engine = backend.open(path, spec, EngineOptions())
    with pytest.raises(BackendError, match=r"failed: ") as caught:
        engine({"left": np.ones((2, 7), np.float32), "no such input": np.ones(1, np.float32)})
    assert "\n" not in str(caught.value)


def test_a_backend_describes_library_and_device_in_one_line(backend: Any) -> None:
    import importlib

    text = backend.describe()
    version = importlib.import_module(PACKAGES[backend.name]).__version__.split("-")[0]
    assert text.startswith(f"{PACKAGES[backend.name]} {version}")
    assert "\n" not in text


def test_a_network_is_called_one_at_a_time_unless_told_otherwise(
    backend: Any, arithmetic_graph: tuple[Path, SubnetSpec]
) -> None:
    path, spec = arithmetic_graph
    assert Network(spec, backend.open(path, spec, EngineOptions())).lanes == 1


def test_nothing_heavy_is_imported_to_list_and_load_the_backends(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys\n"
        "from echoexport.runtime.backends import list_backends, load_backend\n"
        "for name in list_backends(): load_backend(name)\n"
        "print(sorted({'tensorrt', 'tensorrt_rtx_bindings', 'cuda', 'onnxruntime', "
        "'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
