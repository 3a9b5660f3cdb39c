"""A watched backend: every call is told when it is over, and all else is the inner backend's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.recording.watched_backend import WatchedBackend
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.engine.protocol import Arrays, EngineOptions

AXES = (("rows", 2), ("columns", 3))
SPEC = SubnetSpec(
    "net", (TensorSpec("x", "float32", AXES),), (TensorSpec("y", "float32", AXES),), {}
)
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_every_call_is_told_with_its_network_inputs_and_outputs(tmp_path: Path) -> None:
    seen = list[tuple[str, Arrays, Arrays]]()
    watched = WatchedBackend(NullBackend(), lambda *call: seen.append(call))
    engine = watched.open(tmp_path / "net.onnx", SPEC, EngineOptions())
    outputs = engine({"x": X})
    engine({"x": X + 1})
    engine.close()
    assert [network for network, _, _ in seen] == ["net", "net"]
    assert np.array_equal(seen[1][1]["x"], X + 1)
    assert seen[0][2] is outputs
    assert outputs["y"].shape == (2, 3)


def test_what_the_watcher_raises_ends_the_call(tmp_path: Path) -> None:
    def refuse(network: str, inputs: Arrays, outputs: Arrays) -> None:
        raise ValueError(f"{network} gave {sorted(outputs)}")

    engine = WatchedBackend(NullBackend(), refuse).open(tmp_path, SPEC, EngineOptions())
    with pytest.raises(ValueError, match=r"net gave \['y'\]"):
        engine({"x": X})


def test_a_watched_backend_says_of_itself_what_the_inner_one_says(tmp_path: Path) -> None:
    inner = NullBackend()
    watched = WatchedBackend(inner, lambda *call: None)
    assert (watched.name, watched.describe()) == (inner.name, inner.describe())
    assert watched.unavailable() is inner.unavailable() is None
    engine = watched.open(tmp_path, SPEC, EngineOptions())
    assert engine.precision == inner.open(tmp_path, SPEC, EngineOptions()).precision
