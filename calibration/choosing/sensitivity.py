"""Which layers may be int8: what each costs, and the fewest that must stay float."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import Layer
from echoexport.runtime.errors import QualityError

Run = Callable[[Collection[str]], Sequence[NDArray[np.float32]]]
"""With these layers in int8, one result for each probe: the latents at the end of a
trajectory, or an output."""

Judge = Callable[[Collection[str]], float]
"""With these layers in int8, the quality in dB; higher is better."""

_NO_ERROR_DB = 200.0


@dataclass(frozen=True)
class Damage:
    """What it costs to quantize some layers together with all others in float."""

    layers: tuple[str, ...]
    error: float
    """Energy of the results' error over that of the float results, a mean over the
    probes; 0 is no error."""

    @property
    def snr(self) -> float:
        """The same as a signal-to-noise ratio in dB; 200 for no error at all."""
        return _NO_ERROR_DB if self.error <= 0 else min(_NO_ERROR_DB, -10 * math.log10(self.error))


@dataclass(frozen=True)
class LayerChoice:
    """The layers that stay float, and the quality that is reached."""

    kept: tuple[Damage, ...]
    """With what they cost, the worst first."""
    reached: float
    """Quality in dB with these in float."""
    all_int8: float
    """Quality in dB with every layer in int8."""
    evaluations: int
    """How often a quality was measured."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that stay float."""
        return tuple(name for damage in self.kept for name in damage.layers)


def group_layers(layers: Iterable[Layer], *, most: int) -> list[tuple[str, ...]]:
    """Layers to be judged together, in the graph's order.

    Layers that read one activation make a group, as they share its rounding. Where that
    gives more than ``most`` groups, neighbours of one module are joined, from the
    innermost out.
    """
    layers = list(layers)
    by_value: dict[str, list[str]] = {}
    for layer in layers:
        by_value.setdefault(layer.value, []).append(layer.name)
    groups = list(by_value.values())
    depth = max((name.count(".") for group in groups for name in group), default=0)
    while len(groups) > most and depth > 0:
        by_module: dict[str, list[str]] = {}
        for group in groups:
            module = ".".join(group[0].split(".")[:depth])
            by_module.setdefault(module, []).extend(group)
        groups = list(by_module.values())
        depth = depth - 1
    return [tuple(group) for group in groups]


def measure_damage(
    run: Run,
    groups: Sequence[tuple[str, ...]],
    *,
    known: Mapping[tuple[str, ...], float] | None = None,
    on_damage: Callable[[Damage], None] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> tuple[Damage, ...]:
    """Quantize each group alone and measure the error that is left at the end.

    ``known`` errors of an earlier run that was cut short are not measured again;
    ``on_damage`` is told of each new one.
    """
    reference = run(())
    known = known or {}
    damages = []
    for index, group in enumerate(groups):
        if report is not None:
            report(index, len(groups))
        error = known.get(group)
        if error is None:
            error = relative_error(run(group), reference)
            if on_damage is not None:
                on_damage(Damage(group, error))
        damages.append(Damage(group, error))
    return tuple(damages)


def choose_layers(
    damages: Sequence[Damage], judge: Judge, *, budget: float, margin: float = 0.0
) -> LayerChoice:
    """Keep the fewest groups in float that bring the quality to ``budget`` dB.

    The most harmful groups come first. ``margin`` is asked for on top, for what the
    judge does not see. The number that is needed is found by halving, so a handful of
    qualities are measured.

    Raises:
        QualityError: even the least harmful half of the layers takes the quality below
            the budget.
    """
    order = sorted(damages, key=lambda damage: (-damage.error, damage.layers))
    measured: dict[int, float] = {}

    def reach(kept: int) -> float:
        if kept not in measured:
            measured[kept] = judge([name for damage in order[kept:] for name in damage.layers])
        return measured[kept]

    # the answer lies between them
    low = 0
    high = _half(order)
    wanted = budget + margin
    if reach(0) < wanted:
        if reach(high) < wanted:
            raise QualityError(
                f"quality {budget:g} dB cannot be met in int8: with the {high} most harmful of "
                f"{len(order)} groups of "
                f"layers left in float it is {reach(high):.1f} dB; ask for less (--quality) or "
                "for fp16"
            )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reach(middle) >= wanted else (middle, high)
        low = high
    return LayerChoice(tuple(order[:low]), reach(low), measured[0], len(measured))


def relative_error(
    found: Sequence[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]
) -> float:
    """Energy of the error over that of what is wanted, a mean over the pairs.

    It is infinite where a value is not finite.
    """
    shares = []
    for one, other in zip(found, wanted, strict=True):
        error = np.square(one.astype(np.float64) - other).sum()
        shares.append(float(error / max(np.square(other.astype(np.float64)).sum(), 1e-30)))
    mean = float(np.mean(shares))
    return mean if math.isfinite(mean) else math.inf


def measure_psnr(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of pictures of 255 levels, any shape.

    It is 200 where they are equal.
    """
    error = float(np.square(found.astype(np.float64) - wanted).mean())
    return _NO_ERROR_DB if error == 0 else 10 * math.log10(255**2 / error)


def _half(order: Sequence[Damage]) -> int:
    """How many groups, the worst first, hold half of the layers.

    Keeping more of them in float would not leave a bundle worth having.
    """
    layers = 0
    total = sum(len(damage.layers) for damage in order)
    for count, damage in enumerate(order, start=1):
        layers += len(damage.layers)
        if 2 * layers >= total:
            return count
    return len(order)
