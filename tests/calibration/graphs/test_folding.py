"""Folding: what takes a division and what does not, and an output that stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.choosing.smoothing import (
    apply_smoothing,
    find_foldable,
    fold_smoothing,
)
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.plan import Smoothing
from echoexport.runtime.errors import CalibrationError

pytest.importorskip("onnxruntime")


def test_norms_tables_and_gated_products_take_the_division_and_other_producers_do_not(
    tmp_path: Path, make_block: Callable[[Path], FloatGraph]
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


def test_folding_leaves_the_output_as_it_is(
    tmp_path: Path,
    make_block: Callable[[Path], FloatGraph],
    run_graph: Callable[[FloatGraph, np.ndarray], np.ndarray],
    draw_factors: Callable[[str, int], Smoothing],
    x_rows: np.ndarray,
) -> None:
    graph = make_block(tmp_path / "block.onnx")
    smoothing = {
        value: draw_factors(value, graph.layers[entry.layers[0]].shape[0])
        for value, entry in find_foldable(graph).items()
    }
    smoothed = apply_smoothing(graph, smoothing, tmp_path / "smoothed.onnx")
    wanted = run_graph(graph, x_rows)
    found = run_graph(smoothed, x_rows)
    assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)
    weight = graph.read("to_k.weight") * np.array(smoothing["norm1"].factors, np.float32)[:, None]
    np.testing.assert_array_equal(smoothed.read("to_k.weight"), weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "block.bin",
        "block.onnx",
        "smoothed.bin",
        "smoothed.onnx",
    ]


def test_a_constant_that_is_read_elsewhere_gets_a_copy_of_its_own(
    tmp_path: Path,
    make_small: Callable[..., Any],
    run_graph: Callable[[FloatGraph, np.ndarray], np.ndarray],
    draw_factors: Callable[[str, int], Smoothing],
    x_rows: np.ndarray,
) -> None:
    small = make_small()
    first = small.linear(small.norm("x", "norm1"), "first")
    small.linear(small.norm(first, "norm2", constants="norm1"), "second")
    graph = small.write(tmp_path / "shared.onnx", "second.out")
    smoothing = {"norm1": draw_factors("norm1", 8)}
    folded = fold_smoothing(graph, smoothing)
    assert dict(folded.copies) == {
        "norm1.weight.for.norm1": "norm1.weight",
        "norm1.bias.for.norm1": "norm1.bias",
    }
    assert set(folded.weight_edits) == {*folded.copies, "first.weight"}
    wanted = run_graph(graph, x_rows)
    found = run_graph(apply_smoothing(graph, smoothing, tmp_path / "smoothed.onnx"), x_rows)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_others_read_too_is_left_alone(tmp_path: Path, make_small: Callable[..., Any]) -> None:
    small = make_small()
    normed = small.norm("x", "norm1")
    small.add("Add", [small.linear(normed, "first"), normed], "sum")
    assert find_foldable(small.write(tmp_path / "residual.onnx", "sum")) == {}
    small = make_small()
    small.linear(small.norm("x", "norm1"), "first")
    assert find_foldable(small.write(tmp_path / "given.onnx", "first.out", "norm1")) == {}


def test_a_product_of_one_half_with_itself_is_left_alone(
    tmp_path: Path, make_small: Callable[..., Any]
) -> None:
    small = make_small()
    wide = small.linear("x", "wide", wide=2 * 8)
    ends = [
        small.fix("zero", 0),
        small.fix("middle", 8),
        small.fix("last", -1),
        small.fix("one", 1),
    ]
    half = small.add("Slice", [wide, *ends], "half")
    other = small.add("Slice", [wide, *ends], "other")
    small.linear(small.add("Mul", [half, small.add("Gelu", [other], "gate")], "inner"), "narrow")
    assert find_foldable(small.write(tmp_path / "square.onnx", "narrow.out")) == {}


def test_smoothing_that_does_not_fit_the_graph_is_refused(
    tmp_path: Path,
    make_block: Callable[[Path], FloatGraph],
    draw_factors: Callable[[str, int], Smoothing],
) -> None:
    graph = make_block(tmp_path / "block.onnx")
    with pytest.raises(
        CalibrationError, match="block: smoothing of 'x': what produces it takes no division"
    ):
        fold_smoothing(graph, {"x": draw_factors("x", 8)})
    with pytest.raises(CalibrationError, match="'norm1': 3 factors for 8 channels"):
        fold_smoothing(graph, {"norm1": draw_factors("norm1", 3)})


@pytest.mark.slow
def test_folding_leaves_an_exported_denoiser_as_it_is(
    build_tiny: Callable[..., Path], tmp_path: Path, draw_factors: Callable[[str, int], Smoothing]
) -> None:
    import onnxruntime

    bundle = build_tiny()
    graph = FloatGraph(bundle / "denoising_unet.onnx")
    foldable = find_foldable(graph)
    assert sum(len(entry.layers) for entry in foldable.values()) > 20
    widths = {value: graph.layers[entry.layers[0]].shape[0] for value, entry in foldable.items()}
    smoothed = apply_smoothing(
        graph,
        {v: draw_factors(v, width) for v, width in widths.items()},
        tmp_path / "smoothed.onnx",
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
    tmp_path: Path, make_small: Callable[..., Any]
) -> None:
    small = make_small("float16")
    small.norm("x", "normed")
    small.linear("normed", "project")
    graph = small.write(tmp_path / "half.onnx", "project.out")
    factors = np.linspace(0.5, 2.0, 8)
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


def test_a_factor_that_takes_a_constant_out_of_half_precision_is_refused(
    tmp_path: Path, make_small: Callable[..., Any]
) -> None:
    small = make_small("float16")
    small.norm("x", "normed")
    small.linear("normed", "project")
    graph = small.write(tmp_path / "half.onnx", "project.out")
    (tmp_path / "smooth").mkdir()
    with pytest.raises(
        CalibrationError,
        match=r"half: smoothing takes 'normed.weight' to .* more than float16 holds",
    ):
        apply_smoothing(
            graph, {"normed": Smoothing(0.5, (1e-6,) * 8)}, tmp_path / "smooth" / "half.onnx"
        )
    assert list((tmp_path / "smooth").iterdir()) == []
