"""What a killed quantization had found.

Kept file by file, trusted only whole, and not found again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.choosing.network_plan import QuantizerSettings, plan_network
from echoexport.calibration.choosing.policy import load_policy
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing import ranges
from echoexport.calibration.observing.ranges import RangeSettings, collect_ranges
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.progress import NO_PROGRESS, ProgressFolder, make_key, prune_progress
from echoexport.calibration.sample import Sample
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.progress import Progress

pytest.importorskip("onnxruntime")

COUNT = 6
STEPS = 3


@pytest.fixture
def graph(tmp_path: Path) -> FloatGraph:
    """A norm and two linear layers behind it, that may be smoothed."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    tensors = {
        "norm.weight": np.ones(8, np.float32),
        "norm.bias": np.zeros(8, np.float32),
        "first.weight": random.standard_normal((8, 6)),
        "second.weight": random.standard_normal((6, 5)),
    }
    nodes = [
        helper.make_node(
            "LayerNormalization", ["x", "norm.weight", "norm.bias"], ["normal"], name="norm"
        ),
        helper.make_node("MatMul", ["normal", "first.weight"], ["middle"], name="first"),
        helper.make_node("MatMul", ["middle", "second.weight"], ["y"], name="second"),
    ]
    shapes = {"x": (1, 20, 8), "normal": (1, 20, 8), "middle": (1, 20, 6), "y": (1, 20, 5)}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    body = helper.make_graph(
        nodes,
        "denoising_unet",
        [infos["x"]],
        [infos["y"]],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in tensors.items()
        ],
        value_info=[infos["normal"], infos["middle"]],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "denoising_unet.onnx").write_bytes(model.SerializeToString())
    return FloatGraph(tmp_path / "denoising_unet.onnx")


def make_samples() -> list[Sample]:
    random = np.random.default_rng(1)
    scale = np.geomspace(0.1, 30, 8)
    return [
        Sample(
            "denoising_unet",
            {"x": (random.standard_normal((1, 20, 8)) * scale).astype(np.float32)},
            "a.png",
            "b",
            step=index % STEPS,
            steps=STEPS,
        )
        for index in range(COUNT)
    ]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The inputs that ranges were measured on, one entry a call of the engine."""
    seen: list[Any] = []

    class Counted(TappedNetwork):
        def __call__(self, inputs: Any) -> Any:
            seen.append(inputs)
            return super().__call__(inputs)

    monkeypatch.setattr(ranges, "TappedNetwork", Counted)
    return seen


def kill_after(count: int) -> Progress:
    def report(what: str, done: int, total: int) -> None:
        if what.endswith("ranges") and done == count:
            raise KeyboardInterrupt

    return report


def plan(graph: FloatGraph, progress: ProgressFolder, **more: Any) -> str:
    found = plan_network(
        graph,
        make_samples,
        policy=load_policy("cpu", family=FAMILY),
        settings=QuantizerSettings(),
        progress=progress,
        **more,
    )
    return json.dumps(dump(found))


@pytest.mark.parametrize("killed", [1, 3, COUNT])
def test_a_run_killed_after_some_samples_goes_on_behind_them_to_the_same_plan(
    graph: FloatGraph, tmp_path: Path, calls: list[Any], killed: int
) -> None:
    wanted = plan(graph, NO_PROGRESS)
    progress = ProgressFolder(tmp_path / "progress")
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        plan(graph, progress, report=kill_after(killed))
    assert len(calls) == killed
    calls.clear()
    assert plan(graph, progress) == wanted
    samples = make_samples()[killed:]
    assert len(calls) == len(samples)
    for found, sample in zip(calls, samples, strict=True):
        np.testing.assert_array_equal(found["x"], sample.inputs["x"])


def test_a_plan_that_was_found_is_not_made_again(
    graph: FloatGraph, tmp_path: Path, calls: list[Any]
) -> None:
    progress = ProgressFolder(tmp_path / "progress")
    wanted = plan(graph, progress)
    calls.clear()
    assert plan(graph, progress) == wanted
    assert calls == []
    assert '"smoothing": {"normal"' in wanted


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-9], lambda data: data[:90] + b"?" + data[91:], lambda data: b""]
)
@pytest.mark.parametrize("name", ["plan.json", "maxima.npz", "smoothing.json"])
def test_a_damaged_file_is_told_of_and_not_trusted(
    graph: FloatGraph, tmp_path: Path, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    progress = ProgressFolder(tmp_path / "progress")
    wanted = plan(graph, progress)
    for path in (tmp_path / "progress").iterdir():
        if path.name == name:
            path.write_bytes(spoil(path.read_bytes()))
        elif name != "plan.json" and path.name == "plan.json":
            path.unlink()
    with pytest.warns(RuntimeWarning, match=rf"{name}: damaged"):
        assert plan(graph, progress) == wanted


def test_maxima_of_other_activations_do_not_count(graph: FloatGraph, tmp_path: Path) -> None:
    progress = ProgressFolder(tmp_path / "progress")
    collect_ranges(
        graph, make_samples, settings=RangeSettings(values=("normal",)), progress=progress
    )
    both = collect_ranges(graph, make_samples, settings=RangeSettings(), progress=progress)
    fresh = collect_ranges(graph, make_samples, settings=RangeSettings())
    for value in fresh.activations:
        np.testing.assert_array_equal(both.channel_maxima[value], fresh.channel_maxima[value])


def test_values_come_back_as_they_were_written(tmp_path: Path) -> None:
    progress = ProgressFolder(tmp_path).find("inner")
    progress.write("one", {"a": [0.1, 1e-30]})
    progress.write_arrays("two", {"row": np.float32([0.1, np.inf])})
    assert progress.read("one") == {"a": [0.1, 1e-30]}
    kept = progress.read_arrays("two")
    assert kept is not None
    np.testing.assert_array_equal(kept["row"], np.float32([0.1, np.inf]))
    assert sorted(path.name for path in (tmp_path / "inner").iterdir()) == ["one.json", "two.npz"]
    progress.remove()
    assert progress.read("one") is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    progress = ProgressFolder(tmp_path / "file" / "below")
    progress.write("one", 1)
    assert progress.read("one") is None


def test_a_key_depends_on_every_part() -> None:
    keys = {make_key("a", "b"), make_key("a", "c"), make_key("ab"), make_key("a", "b", "")}
    assert len(keys) == 4
    assert make_key("a", "b") == make_key("a", "b")


def test_what_no_build_touched_for_a_month_is_removed(tmp_path: Path) -> None:
    for name in ("old", "new"):
        ProgressFolder(tmp_path / name).write("one", 1)
    past = time.time() - 40 * 86_400
    for path in (tmp_path / "old" / "one.json", tmp_path / "old"):
        os.utime(path, (past, past))
    prune_progress(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    prune_progress(tmp_path / "nowhere")


def test_a_value_written_by_two_processes_of_one_number_at_once_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write_slowly(path: Path, content: bytes) -> None:
        monkeypatch.undo()
        with path.open("wb") as file:
            file.write(content[:20])
            file.flush()
            # As another container's process does.
            ProgressFolder(tmp_path).write("value", [1, 2, 3])
            file.write(content[20:])

    monkeypatch.setattr(Path, "write_bytes", write_slowly)
    ProgressFolder(tmp_path).write("value", [4])
    assert ProgressFolder(tmp_path).read("value") == [4]
