"""Ways to run one network, measured in turns: speed decides.

They differ in what the network is stored and computed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from echoexport.profiles.measuring.latency import compare_side_by_side, read_self_test_inputs
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, SettingError

_WARMUP = 2
_ROUNDS = 7
MOST_WEIGHTS = 1_000_000_000
"""Bytes of fp32 weights of a network whose candidates are held open at once; a larger
one is not measured."""


@dataclass(frozen=True)
class Candidate:
    """One way to run one network."""

    network: str
    precision: str
    compute: str
    seconds: float | None
    """Median of a call, *measured* here in turns with the others; None where it was not."""
    verdict: str = ""
    """One of "chosen", or why it is not."""

    @property
    def label(self) -> str:
        """E.g. ``int8+bf16``."""
        return self.precision if self.compute == "fp32" else f"{self.precision}+{self.compute}"


def measure_candidates(
    bundles: Mapping[str, Path],
    name: str,
    *,
    backend: str,
    computes: Sequence[str] = ("fp32",),
    rounds: int = _ROUNDS,
) -> tuple[Candidate, ...]:
    """Every precision of ``bundles`` (to a bundle's folder) with every arithmetic of ``computes``.

    An engine that refuses a combination (no bf16 on this CPU, a self-test that fails)
    is told of in its verdict.
    """
    found: list[Candidate] = []
    calls: dict[str, Callable[[], object]] = {}
    with ExitStack() as stack:
        for precision, folder in bundles.items():
            for compute in computes:
                candidate = Candidate(name, precision, compute, None)
                options = EngineOptions(compute=compute)
                try:
                    bundle = stack.enter_context(
                        open_bundle(folder, backend=backend, options=options)
                    )
                    if bundle.manifest.networks[name].precision != precision:
                        continue  # a network that this bundle holds as another one does
                    candidate = _prepare(candidate, bundle, calls)
                except (BackendError, SettingError) as error:
                    candidate = replace(candidate, verdict=f"does not run here: {error}")
                found.append(candidate)
        return _time(found, calls, rounds=rounds)


def _prepare(
    candidate: Candidate, bundle: Bundle, calls: dict[str, Callable[[], object]]
) -> Candidate:
    """Add a call of the network to ``calls``, or say why it is not measured."""
    name = candidate.network
    if bundle.measure_weights(name) > MOST_WEIGHTS:
        return replace(candidate, verdict="not measured: too large to hold side by side")
    network = bundle.network(name)
    calls[candidate.label] = partial(network, read_self_test_inputs(bundle, name))
    return candidate


def _time(
    candidates: Sequence[Candidate], calls: Mapping[str, Callable[[], object]], *, rounds: int
) -> tuple[Candidate, ...]:
    """The candidates with the medians of those that have a call."""
    if not calls:
        return tuple(candidates)
    reports = compare_side_by_side(calls, warmup=_WARMUP, repeats=rounds).reports
    return tuple(
        replace(one, seconds=reports[one.label].p50) if one.label in reports else one
        for one in candidates
    )


def choose_fastest(
    candidates: Sequence[Candidate],
    *,
    allowed: Callable[[Candidate], bool] = lambda candidate: True,
) -> tuple[Candidate, ...]:
    """The same candidates with verdicts.

    The fastest that is allowed is "chosen", the others say what beat them.

    Where none was measured, the first that is allowed and not refused is taken, and
    says so.

    Raises:
        BackendError: none is left.
    """
    usable = [
        one for one in candidates if not one.verdict.startswith("does not run") and allowed(one)
    ]
    if not usable:
        reasons = "; ".join(f"{one.label}: {one.verdict or 'ruled out'}" for one in candidates)
        raise BackendError(f"no way to run it is left: {reasons or 'no candidates'}")
    measured = [one for one in usable if one.seconds is not None]
    best = min(measured, key=lambda one: one.seconds or 0.0) if measured else usable[0]
    return tuple(_judge(one, best, allowed=allowed(one)) for one in candidates)


def _judge(one: Candidate, best: Candidate, *, allowed: bool) -> Candidate:
    if one is best:
        return replace(
            one, verdict="chosen" if one.seconds is not None else "chosen without a measurement"
        )
    if one.verdict:
        return one
    if not allowed:
        return replace(one, verdict="dropped: misses the quality budget")
    if one.seconds is None or best.seconds is None:
        return replace(one, verdict=f"not measured; {best.label} was taken")
    return replace(
        one, verdict=f"dropped: {one.seconds / best.seconds:.2f} x the time of {best.label}"
    )
