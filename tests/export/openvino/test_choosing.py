"""What is written anew: the forms that pay, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openvino")

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.quantize import quantize_network
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.export.openvino import choosing
from echoexport.export.openvino.choosing import choose_graph, is_quicker


@pytest.fixture
def model(sketch: Any, attention: Any, gate: Any) -> Any:
    """Two attentions of one form, a gate, and a convolution."""
    draft = sketch()
    ends = [attention(draft, (16, 4, 8), (16, 4, 8)) for _ in range(2)]
    ends.append(gate(draft, (1, 3, 8), 4))
    weight = draft.weight(16, 16, 3, 3)
    ends.append(draft.add("Conv", draft.input(1, 16, 4, 4), weight, pads=[1, 1, 1, 1]))
    return draft.finish(*ends)


@pytest.fixture
def builtin_graph(build_tiny: Any) -> Path:
    """The denoiser of a tiny bundle; read only."""
    return Path(build_tiny()) / "denoising_unet.onnx"


def race(ratios: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every trial end as told, by arithmetic."""

    def scripted(*_: Any, compute: str, **__: Any) -> float:
        return ratios[compute]

    monkeypatch.setattr(choosing, "_race", scripted)


@pytest.mark.parametrize(
    ("ratios", "pays"),
    [
        ({"fp32": 1.2}, True),
        ({"fp32": 1.01}, False),
        ({"fp32": 0.98, "bf16": 1.5}, True),
        ({"fp32": 0.9, "bf16": 2.0}, False),
        ({"fp32": 1.0, "bf16": 1.0}, False),
    ],
)
def test_what_pays_is_quicker_over_all_and_slower_in_nothing(
    ratios: dict[str, float], pays: bool
) -> None:
    assert is_quicker(ratios) is pays


def test_forms_that_are_quicker_are_all_written_anew(
    model: Any, decibels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    race({"fp32": 1.5}, monkeypatch)
    chosen = choose_graph(model, arithmetic=("fp32",), tell=lambda _: None)
    assert [(form.rewrite, form.places) for form in chosen.taken] == [
        ("attentions in blocks", 2),
        ("convolutions as products", 1),
        ("gated products as two", 1),
    ]
    used = Counter(node.op_type for node in chosen.model.graph.node)
    assert (used["Conv"], used["MatMul"]) == (0, 2 * 2 + 1 + 2)
    assert decibels(model, chosen.model) >= 100


def test_forms_that_are_not_stay_as_they_were(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    race({"fp32": 0.8}, monkeypatch)
    chosen = choose_graph(model, arithmetic=("fp32",), tell=lambda _: None)
    assert chosen.taken == ()
    assert len(chosen.forms) == 3
    before = Counter(node.op_type for node in model.graph.node)
    assert Counter(node.op_type for node in chosen.model.graph.node) == before


def test_a_form_is_told_of_when_it_is_timed(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    race({"fp32": 0.8}, monkeypatch)
    told: list[str] = []
    choose_graph(model, arithmetic=("fp32",), tell=told.append)
    assert told == [
        "16 attentions over 4 of 8: attentions in blocks",
        "3x3 convolutions 16 to 16 at 4x4: convolutions as products",
        "gates 8 to 4 of 3 tokens: gated products as two",
    ]


def test_in_a_network_with_int8_layers_only_what_is_float_is_written_anew(
    builtin_graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = FloatGraph(builtin_graph)
    plan = NetworkPlan("int8", {layer: LayerPlan("int8", 1.0) for layer in graph.layers})
    quantize_network(graph, plan, tmp_path / "small.onnx")
    race({"fp32": 1.5}, monkeypatch)
    small = FloatGraph(tmp_path / "small.onnx").model
    chosen = choose_graph(small, arithmetic=("fp32",), tell=lambda _: None)
    assert {form.rewrite for form in chosen.taken} == {"attentions in blocks"}
    before, after = (
        Counter(node.op_type for node in model.graph.node) for model in (small, chosen.model)
    )
    for operator in ("QuantizeLinear", "DequantizeLinear", "Conv", "Softmax"):
        assert after[operator] == before[operator], operator


def test_a_true_trial_ends_with_a_ratio_for_every_arithmetic(model: Any) -> None:
    chosen = choose_graph(model, arithmetic=("fp32",), tell=lambda _: None)
    assert [sorted(form.ratios) for form in chosen.forms] == [["fp32"]] * 3
    assert all(ratio > 0 for form in chosen.forms for ratio in form.ratios.values())
