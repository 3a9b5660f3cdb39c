"""What a bundle's quantization plan says of its layers, read strictly from its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from echoexport.profiles.quality.report import LayerQuality
from echoexport.runtime.bundle.files import check_hash
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.schema import parse
from echoexport.runtime.errors import BundleError, UnknownNameError
from echoexport.runtime.files.json_file import read_json

__all__ = ["_PLAN_NAME", "LayerDamage", "measure_storage", "name_precision", "read_layers"]

_PLAN_NAME = "quantization.json"

LayerDamage = Mapping[str, Mapping[str, float]]
"""Network to layer to the dB that quantizing this layer alone costs."""

_FLOAT32 = 4  # bytes of a value
_MODES = ("int8", "weights", "float")
_SCHEMA = 1


@dataclass(frozen=True)
class _Layer:
    mode: str
    amax: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Network:
    precision: str
    layers: Mapping[str, _Layer] = field(default_factory=dict)
    smoothing: Mapping[str, Any] = field(default_factory=dict)
    float32_nodes: tuple[str, ...] = ()
    skips: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    schema: int
    method: str
    calibration: str
    networks: Mapping[str, _Network]


def read_layers(bundle: Bundle, damage: LayerDamage | None = None) -> tuple[LayerQuality, ...]:
    """Every layer that the bundle's plan names, with what it costs.

    Costs are those of ``damage``. Without a plan there is no layer.

    Raises:
        BundleError: the plan is not the manifest's, or breaks its schema.
        UnknownNameError: damage of a network or layer that the plan lacks.
    """
    plan = _read_plan(bundle)
    if plan is None:
        return ()
    given = damage or {}
    _check_names(plan, given)
    return tuple(
        LayerQuality(network, name, layer.mode, layer.reason, given.get(network, {}).get(name))
        for network, entry in plan.networks.items()
        for name, layer in entry.layers.items()
    )


def name_precision(bundle: Bundle, network: str | None = None) -> str:
    """What a bundle, or one of its networks, stores.

    It is "int8" where its plan says so, else the manifest's word.
    """
    plan = _read_plan(bundle)
    manifest = bundle.manifest
    if network is None:
        planned = set() if plan is None else {entry.precision for entry in plan.networks.values()}
        return "int8" if "int8" in planned else manifest.precision
    if plan is not None and network in plan.networks:
        return plan.networks[network].precision
    return manifest.networks[network].precision


def measure_storage(bundle: Bundle, names: Iterable[str]) -> dict[str, Any]:
    """``int8_share`` and ``of_fp32`` of these networks together, as in ``NetworkSide``."""
    entries = {name: bundle.manifest.networks[name] for name in names}
    values = sum(entry.parameters for entry in entries.values())
    small = sum(entry.int8_parameters for entry in entries.values())
    told = all(entry.int8_parameters for entry in entries.values() if entry.precision == "int8")
    weights = sum(bundle.measure_weights(name) for name in entries)
    return {
        "int8_share": round(small / max(values, 1), 4) if told else None,
        "of_fp32": round(weights / max(_FLOAT32 * values, 1), 4),
    }


def _read_plan(bundle: Bundle) -> _Plan | None:
    if _PLAN_NAME not in bundle.manifest.files:
        return None
    path = bundle.folder / _PLAN_NAME
    check_hash(bundle.folder, _PLAN_NAME, manifest=bundle.manifest)
    try:
        plan = parse(_Plan, read_json(path), where="plan")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: not a readable quantization plan: {error}") from error
    if plan.schema != _SCHEMA:
        raise BundleError(f"{path}: schema {plan.schema}; this release reads {_SCHEMA}")
    for network, entry in plan.networks.items():
        for name, layer in entry.layers.items():
            if layer.mode not in _MODES:
                raise BundleError(
                    f"{path}: {network}, layer {name}: mode {layer.mode!r}; known: "
                    f"{', '.join(_MODES)}"
                )
    return plan


def _check_names(plan: _Plan, damage: LayerDamage) -> None:
    for network, layers in damage.items():
        if network not in plan.networks:
            raise UnknownNameError("network of the quantization plan", network, known=plan.networks)
        for layer in layers:
            if layer not in plan.networks[network].layers:
                raise UnknownNameError(
                    f"layer of {network}", layer, known=plan.networks[network].layers
                )
