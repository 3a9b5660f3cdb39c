"""Smoothing: what can be folded, the float output unchanged, int8 better for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.choosing.smoothing import (
    SmoothingSettings,
    apply_smoothing,
    compute_factors,
    find_foldable,
    find_smoothing,
    fold_smoothing,
    measure_error,
)
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.ranges import RangeSettings, collect_ranges
from echoexport.calibration.plan import Smoothing
from echoexport.calibration.sample import Sample
from echoexport.runtime.errors import CalibrationError

pytest.importorskip("onnxruntime")

WIDTH = 8
ROWS = 6


class Small:
    """A graph like a transformer block of the export, weights in a file.

    What each test needs is put together of it.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.random = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.external: dict[str, np.ndarray] = {}
        self.inline: dict[str, np.ndarray] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def weigh(self, name: str, *shape: int) -> str:
        self.external[name] = self.random.standard_normal(shape).astype(self.dtype)
        return name

    def fix(self, name: str, *numbers: int) -> str:
        self.inline[name] = np.array(numbers, np.int64)
        return name

    def norm(self, source: str, output: str, *, constants: str = "") -> str:
        stem = constants or output
        for part in ("weight", "bias"):
            if f"{stem}.{part}" not in self.external:
                self.weigh(f"{stem}.{part}", WIDTH)
        return self.add(
            "LayerNormalization", [source, f"{stem}.weight", f"{stem}.bias"], output, axis=-1
        )

    def linear(self, source: str, name: str, *, width: int = WIDTH, wide: int = WIDTH) -> str:
        return self.add(
            "MatMul", [source, self.weigh(f"{name}.weight", width, wide)], f"{name}.out"
        )

    def write(self, path: Path, *outputs: str) -> FloatGraph:
        from onnx import TensorProto, helper, numpy_helper, shape_inference

        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        tensors = [numpy_helper.from_array(array, name) for name, array in self.inline.items()]
        position = 0
        with path.with_suffix(".bin").open("wb") as file:
            for name, values in self.external.items():
                tensor = TensorProto(name=name, data_type=kind, dims=values.shape, data_location=1)
                for key, entry in (
                    ("location", f"{path.stem}.bin"),
                    ("offset", position),
                    ("length", values.nbytes),
                ):
                    tensor.external_data.add(key=key, value=str(entry))
                file.write(values.tobytes())
                position += values.nbytes
                tensors.append(tensor)
        given_ = [helper.make_tensor_value_info("x", kind, (1, ROWS, WIDTH))]
        results = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
        body = helper.make_graph(self.nodes, path.stem, given_, results, tensors)
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        path.write_bytes(shape_inference.infer_shapes(model).SerializeToString())
        return FloatGraph(path)


def make_block(path: Path) -> FloatGraph:
    """Norm, two linears; norm with a table, a linear; a gated feed-forward.

    All but the last sum can be smoothed.
    """
    small = Small()
    normed = small.norm("x", "norm1")
    keys = small.linear(normed, "to_k")
    queries = small.linear(normed, "to_q")
    mixed = small.add("Add", [keys, queries], "mixed")
    normed = small.norm(mixed, "norm2")
    small.weigh("pe", 1, 32, WIDTH)
    table = small.add(
        "Slice", ["pe", small.fix("zero", 0), small.fix("rows", ROWS), small.fix("one", 1)], "table"
    )
    placed = small.linear(small.add("Add", [normed, table], "placed"), "temporal")
    normed = small.norm(placed, "norm3")
    wide = small.linear(normed, "ff.net.0.proj", wide=4 * WIDTH)
    wide = small.add("Add", [wide, small.weigh("ff.net.0.proj.bias", 4 * WIDTH)], "wide")
    small.fix("middle", 2 * WIDTH), small.fix("end", 4 * WIDTH), small.fix("last", -1)
    half = small.add("Slice", [wide, "zero", "middle", "last", "one"], "half")
    gate = small.add(
        "Gelu", [small.add("Slice", [wide, "middle", "end", "last", "one"], "gating")], "gate"
    )
    inner = small.add("Mul", [half, gate], "inner")
    small.linear(small.linear(inner, "ff.net.2", width=2 * WIDTH), "to_out")
    return small.write(path, "to_out.out")


def run(graph: FloatGraph, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    return np.concatenate([array.ravel() for array in session.run(None, {"x": x})])


def draw(value: str, width: int) -> Smoothing:
    random = np.random.default_rng(len(value))
    return Smoothing(0.5, tuple(map(float, np.exp(random.uniform(-2, 2, width)))))


X = np.random.default_rng(7).standard_normal((1, ROWS, WIDTH)).astype(np.float32)


def test_norms_tables_and_gated_products_take_the_division_and_other_producers_do_not(
    tmp_path: Path,
) -> None:
    found = find_foldable(make_block(tmp_path / "block.onnx"))
    constants = {value: [one.constant for one in entry.divided] for value, entry in found.items()}
    assert constants == {
        "norm1": ["norm1.weight", "norm1.bias"],
        "placed": ["norm2.weight", "norm2.bias", "pe"],
        "norm3": ["norm3.weight", "norm3.bias"],
        "inner": ["ff.net.0.proj.weight", "ff.net.0.proj.bias"],
    }
    assert found["norm1"].layers == ("to_k", "to_q")


def test_folding_leaves_the_output_as_it_is(tmp_path: Path) -> None:
    graph = make_block(tmp_path / "block.onnx")
    smoothing = {
        value: draw(value, graph.layers[entry.layers[0]].shape[0])
        for value, entry in find_foldable(graph).items()
    }
    smoothed = apply_smoothing(graph, smoothing, tmp_path / "smoothed.onnx")
    wanted = run(graph, X)
    found = run(smoothed, X)
    assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)
    weight = graph.read("to_k.weight") * np.array(smoothing["norm1"].factors, np.float32)[:, None]
    np.testing.assert_array_equal(smoothed.read("to_k.weight"), weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "block.bin",
        "block.onnx",
        "smoothed.bin",
        "smoothed.onnx",
    ]


def test_a_constant_that_is_read_elsewhere_gets_a_copy_of_its_own(tmp_path: Path) -> None:
    small = Small()
    first = small.linear(small.norm("x", "norm1"), "first")
    small.linear(small.norm(first, "norm2", constants="norm1"), "second")
    graph = small.write(tmp_path / "shared.onnx", "second.out")
    smoothing = {"norm1": draw("norm1", WIDTH)}
    folded = fold_smoothing(graph, smoothing)
    assert dict(folded.copies) == {
        "norm1.weight.for.norm1": "norm1.weight",
        "norm1.bias.for.norm1": "norm1.bias",
    }
    assert set(folded.weight_edits) == {*folded.copies, "first.weight"}
    wanted = run(graph, X)
    found = run(apply_smoothing(graph, smoothing, tmp_path / "smoothed.onnx"), X)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_others_read_too_is_left_alone(tmp_path: Path) -> None:
    small = Small()
    normed = small.norm("x", "norm1")
    small.add("Add", [small.linear(normed, "first"), normed], "sum")
    assert find_foldable(small.write(tmp_path / "residual.onnx", "sum")) == {}
    small = Small()
    small.linear(small.norm("x", "norm1"), "first")
    assert find_foldable(small.write(tmp_path / "given.onnx", "first.out", "norm1")) == {}


def test_a_product_of_one_half_with_itself_is_left_alone(tmp_path: Path) -> None:
    small = Small()
    wide = small.linear("x", "wide", wide=2 * WIDTH)
    ends = [
        small.fix("zero", 0),
        small.fix("middle", WIDTH),
        small.fix("last", -1),
        small.fix("one", 1),
    ]
    half = small.add("Slice", [wide, *ends], "half")
    other = small.add("Slice", [wide, *ends], "other")
    small.linear(small.add("Mul", [half, small.add("Gelu", [other], "gate")], "inner"), "narrow")
    assert find_foldable(small.write(tmp_path / "square.onnx", "narrow.out")) == {}


def test_smoothing_that_does_not_fit_the_graph_is_refused(tmp_path: Path) -> None:
    graph = make_block(tmp_path / "block.onnx")
    with pytest.raises(
        CalibrationError, match="block: smoothing of 'x': what produces it takes no division"
    ):
        fold_smoothing(graph, {"x": draw("x", WIDTH)})
    with pytest.raises(CalibrationError, match="'norm1': 3 factors for 8 channels"):
        fold_smoothing(graph, {"norm1": draw("norm1", 3)})


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_factors_are_finite_and_positive_whatever_the_maxima(seed: int, alpha: float) -> None:
    random = np.random.default_rng(seed)
    x = (random.random(16) * 10.0 ** random.integers(-20, 20, 16)).astype(np.float32)
    x[random.random(16) < 0.3] = 0
    factors = compute_factors(x, random.random(16).astype(np.float32), alpha=alpha)
    assert np.all(np.isfinite(factors)) and np.all(factors > 0)


def test_an_exponent_of_one_makes_all_channels_alike() -> None:
    x = np.array([1, 10, 100], np.float32)
    np.testing.assert_allclose(
        x / compute_factors(x, np.ones(3, np.float32), alpha=1.0), 10, rtol=1e-5
    )


@pytest.mark.parametrize("real", [True, False])
def test_outlier_channels_are_smoothed_and_int8_gains_by_it(tmp_path: Path, real: bool) -> None:
    small = Small()
    small.linear(small.norm("x", "norm1"), "first", wide=32)
    small.external["norm1.weight"][2] = 80
    graph = small.write(tmp_path / "outlier.onnx", "first.out")
    random = np.random.default_rng(1)
    samples = [
        Sample(
            "outlier",
            {"x": random.standard_normal((1, ROWS, WIDTH)).astype(np.float32)},
            "a.png",
            "b.wav",
        )
        for _ in range(8)
    ]
    ranges = collect_ranges(graph, lambda: samples, settings=RangeSettings())
    found = find_smoothing(
        graph,
        ranges,
        samples=(lambda: samples) if real else None,
        settings=SmoothingSettings(rows=4),
    )
    factors = np.array(found["norm1"].factors, np.float32)
    assert factors.argmax() == 2
    rows = random.standard_normal((100, WIDTH)).astype(np.float32) * graph.read("norm1.weight")
    weight = np.asarray(graph.read("first.weight"), np.float32)
    amax = float(np.abs(rows).max())
    after = measure_error(
        rows / factors, weight * factors[:, None], amax=float(np.abs(rows / factors).max())
    )
    assert after < measure_error(rows, weight, amax=amax)


def test_the_same_samples_give_the_same_factors(tmp_path: Path) -> None:
    graph = make_block(tmp_path / "block.onnx")
    samples = [
        Sample("block", {"x": X * np.float32(scale)}, "a.png", "b.wav") for scale in range(1, 20)
    ]
    ranges = collect_ranges(graph, lambda: samples, settings=RangeSettings())
    settings = SmoothingSettings(rows=2, most=8)
    assert find_smoothing(
        graph, ranges, samples=lambda: samples, settings=settings
    ) == find_smoothing(graph, ranges, samples=lambda: samples, settings=settings)


@pytest.mark.slow
def test_folding_leaves_an_exported_denoiser_as_it_is(
    build_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    import onnxruntime

    bundle = build_tiny()
    graph = FloatGraph(bundle / "denoising_unet.onnx")
    foldable = find_foldable(graph)
    assert sum(len(entry.layers) for entry in foldable.values()) > 20
    widths = {value: graph.layers[entry.layers[0]].shape[0] for value, entry in foldable.items()}
    smoothed = apply_smoothing(
        graph, {v: draw(v, width) for v, width in widths.items()}, tmp_path / "smoothed.onnx"
    )
    with np.load(bundle / "self-test" / "denoising_unet.npz") as arrays:
        inputs = {
            name.removeprefix("input."): arrays[name]
            for name in arrays.files
            if name.startswith("input.")
        }
    wanted, found = (
        onnxruntime.InferenceSession(str(one.path), providers=["CPUExecutionProvider"]).run(
            ["velocity"], inputs
        )[0]
        for one in (graph, smoothed)
    )
    assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_a_half_precision_graph_keeps_its_type_and_its_values_but_for_rounding(
    tmp_path: Path,
) -> None:
    small = Small("float16")
    small.norm("x", "normed")
    small.linear("normed", "project")
    graph = small.write(tmp_path / "half.onnx", "project.out")
    factors = np.linspace(0.5, 2.0, WIDTH)
    (tmp_path / "smooth").mkdir()
    smooth = apply_smoothing(
        graph,
        {"normed": Smoothing(0.5, tuple(float(one) for one in factors))},
        tmp_path / "smooth" / "half.onnx",
    )
    gain, weight = (smooth.read(name) for name in ("normed.weight", "project.weight"))
    assert (gain.dtype, weight.dtype) == (np.float16, np.float16)
    np.testing.assert_allclose(
        gain, small.external["normed.weight"] / factors, rtol=2e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        weight, small.external["project.weight"] * factors[:, None], rtol=2e-3, atol=1e-4
    )


def test_a_factor_that_takes_a_constant_out_of_half_precision_is_refused(tmp_path: Path) -> None:
    small = Small("float16")
    small.norm("x", "normed")
    small.linear("normed", "project")
    graph = small.write(tmp_path / "half.onnx", "project.out")
    (tmp_path / "smooth").mkdir()
    with pytest.raises(
        CalibrationError,
        match=r"half: smoothing takes 'normed.weight' to .* more than float16 holds",
    ):
        apply_smoothing(
            graph, {"normed": Smoothing(0.5, (1e-6,) * WIDTH)}, tmp_path / "smooth" / "half.onnx"
        )
    assert list((tmp_path / "smooth").iterdir()) == []
