"""Which places of a network are written anew: those that are quicker so on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.openvino.attention_blocks import AttentionBlocks
from echoexport.export.openvino.patch_products import PatchProducts
from echoexport.export.openvino.rewrite import Rewrite, Site
from echoexport.export.openvino.split_gates import SplitGates
from echoexport.export.openvino.trials import Runner, compare
from echoexport.export.openvino.units import cut_out, draw_inputs
from echoexport.runtime.errors import BackendError
from echoexport.runtime.progress import Tell

if TYPE_CHECKING:
    import onnx

REWRITES: tuple[Rewrite, ...] = (AttentionBlocks(), PatchProducts(), SplitGates())
"""In the order in which they are tried; none makes or takes a place of another's."""

QUICKER = 1.03
"""Times as quick that a form must become, over all arithmetic together, to be written anew."""

NOT_SLOWER = 0.97
"""And at least, in each: a ratio's own noise."""

_SECONDS = 0.2  # of turns for a form, an option and an arithmetic


@dataclass(frozen=True)
class FormChoice:
    """Places of one form and what was found of them."""

    rewrite: str
    """What would be made of them."""
    form: str
    """The form in words."""
    places: int
    """How many the network has."""
    option: int
    """The quickest of the rewrite's options."""
    ratios: Mapping[str, float]
    """By arithmetic, times as quick as the plain form."""

    @property
    def taken(self) -> bool:
        """Whether they are written anew."""
        return is_quicker(self.ratios)


@dataclass(frozen=True)
class ChosenGraph:
    """A network's graph with the forms written anew that are quicker so."""

    model: onnx.ModelProto
    forms: tuple[FormChoice, ...]
    """All that were tried."""

    @property
    def taken(self) -> tuple[FormChoice, ...]:
        """Those that are in the model."""
        return tuple(form for form in self.forms if form.taken)


def is_quicker(ratios: Mapping[str, float]) -> bool:
    """Whether something pays over all arithmetic, and costs nothing in any."""
    values = ratios.values()
    return geometric_mean(values) >= QUICKER and min(values) >= NOT_SLOWER


def choose_graph(model: onnx.ModelProto, *, arithmetic: Sequence[str], tell: Tell) -> ChosenGraph:
    """Time every form of place by itself, and write the quicker ones anew.

    ``arithmetic``: what it may have to compute in. The model that is given stays as it
    is.
    """
    model = _tell_shapes(model)
    plain = EditedGraph(model)
    result = EditedGraph(model)
    forms = list[FormChoice]()
    for rewrite in REWRITES:
        for places in _group(rewrite.find(plain)):
            tell(f"{places[0].label}: {rewrite.name}")
            unit = cut_out(model, plain, places)
            choice = _try_form(rewrite, places, unit, arithmetic=arithmetic)
            if choice is None:
                continue
            forms.append(choice)
            for place in places if choice.taken else ():
                rewrite.apply(result, place, choice.option)
    return ChosenGraph(result.finish(), tuple(forms))


def _tell_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that says every value's shape; one with int8 layers says some only."""
    from onnx import shape_inference

    graph = model.graph
    told = {value.name for value in (*graph.value_info, *graph.input, *graph.output)}
    if all(name in told for node in graph.node for name in node.output):
        return model
    return shape_inference.infer_shapes(model, data_prop=True)


def _group(places: Sequence[Site]) -> Iterator[list[Site]]:
    """Places of one form together, forms in the order in which they come."""
    for form in dict.fromkeys(place.form for place in places):
        yield [place for place in places if place.form == form]


def _try_form(
    rewrite: Rewrite,
    places: Sequence[Site],
    unit: onnx.ModelProto,
    *,
    arithmetic: Sequence[str],
) -> FormChoice | None:
    """The best option of a form, None where the library refuses one of the graphs."""
    inputs = draw_inputs(unit)
    tried = list[FormChoice]()
    with tempfile.TemporaryDirectory(prefix="echoexport-trial-") as folder:
        for option in rewrite.list_options(places[0]):
            other = write_anew(unit, rewrite, option)
            try:
                ratios = {
                    each: _race(unit, other, inputs, compute=each, folder=Path(folder))
                    for each in arithmetic
                }
            except BackendError:
                continue
            tried.append(FormChoice(rewrite.name, places[0].label, len(places), option, ratios))
    return max(tried, key=lambda one: geometric_mean(one.ratios.values()), default=None)


def write_anew(model: onnx.ModelProto, rewrite: Rewrite, option: int) -> onnx.ModelProto:
    """A model with every place that a rewrite finds in it written anew."""
    graph = EditedGraph(model)
    for place in rewrite.find(graph):
        rewrite.apply(graph, place, option)
    return graph.finish()


def _race(
    unit: onnx.ModelProto,
    other: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    *,
    compute: str,
    folder: Path,
) -> float:
    runners = []
    for name, model in (("plain", unit), ("anew", other)):
        path = folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        runners.append(Runner(path, inputs, compute=compute))
    return round(compare(*runners, seconds=_SECONDS)[0], 3)
