"""What quantization decided, layer by layer.

The plan travels in the bundle as JSON, to be read, edited, pinned and replayed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import CalibrationError
from echoexport.runtime.files.json_file import read_json

PLAN_SCHEMA = 1
PLAN_NAME = "quantization.json"

LEVELS = 127
"""Steps of int8 on each side of zero; -128 is left out, so that ranges are symmetric."""

LAYER_MODES = ("int8", "weights", "float")
"""In "int8" weights and activations run in int8; "weights" are stored in int8 and computed
in float; "float" is left as it is."""


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one layer."""

    mode: str
    """A word of ``LAYER_MODES``."""
    amax: float | None = None
    """For "int8", the symmetric range [-amax, amax] of the activation that it reads."""
    reason: str = ""
    """Why it is not "int8", e.g. "policy: conv_in" or "sensitivity: costs 1.2 dB"."""


@dataclass(frozen=True)
class Smoothing:
    """SmoothQuant on one activation: its channels are divided, its layers' weights multiplied.

    Ranges (``LayerPlan.amax``) of the layers that read the activation are those after
    the division.
    """

    alpha: float
    """The exponent that the factors came from (Xiao et al. 2022, equation 4)."""
    factors: tuple[float, ...]
    """One for each channel, above 0."""


@dataclass(frozen=True)
class NetworkPlan:
    """One network."""

    precision: str
    """It is "int8" where any layer is not "float", else "fp32" or "fp16"."""
    layers: Mapping[str, LayerPlan] = field(default_factory=dict)
    """By layer name; those not named are float."""
    smoothing: Mapping[str, Smoothing] = field(default_factory=dict)
    """By the activation's value name."""
    float32_nodes: tuple[str, ...] = ()
    """Nodes that an fp16 graph computes in fp32."""
    skips: Mapping[str, float] = field(default_factory=dict)
    """Ranges of what residual Adds take past int8 layers, by value name; those not
    named stay float."""


@dataclass(frozen=True)
class QuantizationPlan:
    """A whole bundle's."""

    schema: int
    method: str
    """How ranges were found."""
    calibration: str
    """Hash of the set they came from."""
    networks: Mapping[str, NetworkPlan]


def write_plan(plan: QuantizationPlan, path: Path) -> None:
    """Write a plan as JSON, the same bytes for the same plan."""
    path.write_text(json.dumps(dump(plan), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_plan(path: Path) -> QuantizationPlan:
    """A plan that was written, perhaps edited since.

    Raises:
        CalibrationError: names the file, the key and what was wanted.
    """
    try:
        data = read_json(path)
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CalibrationError(f"{path}: not readable JSON: {error}") from error
    try:
        plan = parse(QuantizationPlan, data, where="plan")
    except ValueError as error:
        raise CalibrationError(f"{path}: {error}") from error
    _check(plan, path)
    return plan


def _check(plan: QuantizationPlan, path: Path) -> None:
    if plan.schema != PLAN_SCHEMA:
        raise CalibrationError(f"{path}: schema {plan.schema}; this release reads {PLAN_SCHEMA}")
    for network, entry in plan.networks.items():
        for name, layer in entry.layers.items():
            where = f"{path}: {network}, layer {name}"
            if layer.mode not in LAYER_MODES:
                raise CalibrationError(
                    f"{where}: mode {layer.mode!r}; known: {', '.join(LAYER_MODES)}"
                )
            if layer.mode == "int8" and not (layer.amax or 0) > 0:
                raise CalibrationError(
                    f"{where}: mode 'int8' needs an amax above 0, found {layer.amax}"
                )
        for value, smoothing in entry.smoothing.items():
            if not all(factor > 0 for factor in smoothing.factors):
                raise CalibrationError(
                    f"{path}: {network}, smoothing of {value}: factors above 0 are wanted"
                )
