"""The null backend: zeros of the right shapes, on every machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import (
    BackendError,
)


def test_the_null_engine_too_is_refused_once_it_is_closed(
    arithmetic_spec: Callable[..., SubnetSpec],
) -> None:
    engine = load_backend("null").open(Path("graph"), arithmetic_spec("float32"), EngineOptions())
    engine.close()
    with pytest.raises(BackendError, match="this engine is closed"):
        engine({})


def test_the_null_engine_gives_zeros_that_nobody_can_spoil(
    arithmetic_spec: Callable[..., SubnetSpec],
) -> None:
    spec = arithmetic_spec("float16")
    outputs = load_backend("null").open(Path("graph"), spec, EngineOptions())({})
    assert {name: (a.shape, a.dtype.name) for name, a in outputs.items()} == {
        t.name: (t.shape, t.dtype) for t in spec.outputs
    }
    assert not any(array.any() for array in outputs.values())
    with pytest.raises(ValueError, match="read-only"):
        outputs["product"][:] = 1
