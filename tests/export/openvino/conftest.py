"""Parts of a network as the export writes them, and rewrites applied to whole models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import onnx

    from echoexport.export.openvino.rewrite import Rewrite


@pytest.fixture
def attention() -> Callable[..., str]:
    """A function that adds an attention over tokens to a sketch, and gives what it is called."""

    def add(
        draft: Any, query: tuple[int, int, int], key: tuple[int, int, int], *, heads: int = 2
    ) -> str:
        batch, tokens, wide = query
        inputs = (draft.input(*query), draft.input(*key), draft.input(*key))
        splits = []
        for name, shape in zip(inputs, (query, key, key), strict=True):
            view = draft.reshape(name, shape[0], shape[1], heads, wide // heads)
            splits.append(draft.add("Transpose", view, perm=[0, 2, 1, 3]))
        scaled = draft.add("Mul", splits[0], draft.number(0.5))
        turned = draft.add("Transpose", splits[1], perm=[0, 1, 3, 2])
        weights = draft.add("Softmax", draft.add("MatMul", scaled, turned), axis=-1)
        mixed = draft.add("MatMul", weights, splits[2])
        joined = draft.add("Transpose", mixed, perm=[0, 2, 1, 3])
        return str(draft.reshape(joined, batch, tokens, wide))

    return add


@pytest.fixture
def gate() -> Callable[..., str]:
    """A function that adds a gated product to a sketch, and gives what it is called."""

    def add(draft: Any, shape: tuple[int, int, int], half: int) -> str:
        product = draft.add("MatMul", draft.input(*shape), draft.weight(shape[2], 2 * half))
        both = draft.add("Add", product, draft.weight(2 * half))
        axis = draft.integers(2)
        bounds = [draft.integers(number) for number in (0, half, 2 * half)]
        value = draft.add("Slice", both, bounds[0], bounds[1], axis)
        gated = draft.add("Slice", both, bounds[1], bounds[2], axis)
        return str(draft.add("Mul", value, draft.add("Gelu", gated)))

    return add


@pytest.fixture
def decibels(run_graph: Any) -> Callable[[onnx.ModelProto, onnx.ModelProto], float]:
    """A function of two models: how close their outputs are on random inputs, in dB of the peak."""

    def measure(model: onnx.ModelProto, other: onnx.ModelProto) -> float:
        random = np.random.default_rng(1)
        inputs = {
            value.name: random.standard_normal(
                [side.dim_value for side in value.type.tensor_type.shape.dim]
            ).astype(np.float32)
            for value in model.graph.input
        }
        wanted = run_graph(model, inputs)
        found = run_graph(other, inputs)
        peak = max(float(np.abs(values).max()) for values in wanted.values())
        error = max(float(np.abs(found[name] - values).max()) for name, values in wanted.items())
        return float(20 * np.log10(peak / max(error, 1e-30)))

    return measure


@pytest.fixture
def rewrite_all() -> Callable[[onnx.ModelProto, Rewrite, int], tuple[onnx.ModelProto, int]]:
    """A function that writes every place of a model anew: the checked result, and how many."""

    def write(model: onnx.ModelProto, rewrite: Rewrite, option: int) -> Any:
        import onnx

        from echoexport.export.graphs.edited_graph import EditedGraph
        from echoexport.export.openvino.choosing import write_anew

        result = write_anew(model, rewrite, option)
        onnx.checker.check_model(result)
        return result, len(rewrite.find(EditedGraph(model)))

    return write
