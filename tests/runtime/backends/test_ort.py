"""ONNX Runtime on the CPU: what it has, and what it refuses by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import (
    SettingError,
)


def test_onnx_runtime_refuses_bf16_and_names_the_backend_that_has_it(
    arithmetic_graph: tuple[Path, SubnetSpec],
) -> None:
    with pytest.raises(
        SettingError, match=r"compute 'bf16': backend 'ort' has fp32 only; 'openvino' has bf16"
    ):
        load_backend("ort").open(*arithmetic_graph, EngineOptions(compute="bf16"))
