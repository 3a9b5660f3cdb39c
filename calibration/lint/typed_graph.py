"""A graph with the type and sides of every value, as far as ONNX infers them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

__all__ = ["DOMAINS", "TypedGraph", "Value", "name_type", "read_attributes"]

DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Value:
    """Type name ("" where it is not known) and sides of a value; a side that is not known is 0."""

    dtype: str
    sides: tuple[int, ...]


class TypedGraph:
    """A graph with the type of every value, as far as ONNX infers it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}

    @cached_property
    def values(self) -> dict[str, Value]:
        """By name: inputs, constants, outputs, and what nodes give."""
        found = dict(_list_values(self.model))
        if any(
            name and name not in found for node in self.model.graph.node for name in node.output
        ):
            found = {**dict(_list_values(_infer(self.model))), **found}
        return found

    @property
    def opset(self) -> int:
        """Version of the default operators, 0 for none."""
        return max(
            (one.version for one in self.model.opset_import if one.domain in DOMAINS), default=0
        )

    def type_of(self, name: str) -> str:
        """A value's type name, "" for none that is known."""
        return self.values[name].dtype if name in self.values else ""

    def sides_of(self, name: str) -> tuple[int, ...] | None:
        """A value's sides, None where even their number is not known."""
        return self.values[name].sides if name in self.values else None


def _list_values(model: onnx.ModelProto) -> Iterator[tuple[str, Value]]:
    for tensor in model.graph.initializer:
        yield tensor.name, Value(name_type(tensor.data_type), tuple(tensor.dims))
    for info in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        kind = info.type.tensor_type
        yield (
            info.name,
            Value(name_type(kind.elem_type), tuple(side.dim_value for side in kind.shape.dim)),
        )


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with what ONNX infers; as it is where that fails, which the type rule reports."""
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # its errors are classes of a C++ module, without a common base
        return model


def read_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name, texts decoded."""
    from onnx import helper

    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return {
        name: value.decode() if isinstance(value, bytes) else value for name, value in given.items()
    }


def name_type(kind: int) -> str:
    """numpy's name of an ONNX type, "" for what numpy has none of; 4-bit and 8-bit floats too."""
    from onnx import TensorProto

    if kind == TensorProto.UNDEFINED:
        return ""
    name = str(TensorProto.DataType.Name(kind)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
