"""Networks of two bundles on the same inputs: how close, how large and how quick each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from echoexport.profiles.measuring.latency import LatencyReport, compare_side_by_side, measure_calls
from echoexport.profiles.quality.plan_layers import measure_storage, name_precision
from echoexport.profiles.quality.recording import CallReservoir, RecordedCall
from echoexport.profiles.quality.report import NetworkQuality, NetworkSide
from echoexport.profiles.quality.signals import Closeness, ClosenessSums
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.errors import BackendError
from echoexport.runtime.progress import Progress

__all__ = ["NetworkTiming", "compare_networks", "is_large"]

_LARGE = 1_000_000_000  # bytes of weights; two engines of such a network may not fit side by side
_LARGE_REPEATS = 3  # of calls that take a good part of a minute on a CPU


@dataclass(frozen=True)
class NetworkTiming:
    """How often networks are called, both in turns, while they are timed."""

    warmup: int
    repeats: int


def is_large(bundle: Bundle, name: str = "denoising_unet") -> bool:
    """Whether a network is so large that two bundles' should not be open at once."""
    return bundle.measure_weights(name) > _LARGE


def compare_networks(
    reference: Bundle,
    candidate: Bundle,
    recorded: Mapping[str, CallReservoir],
    *,
    timing: NetworkTiming,
    report: Progress,
) -> list[NetworkQuality]:
    """Every network that was recorded, the candidate's on the reference's very inputs.

    Calls are timed in turns, but for large networks: these are opened, timed and closed
    one after the other.

    Raises:
        BackendError: a network fails, lacks an output, or gives NaN.
    """
    names = [name for name, kept in recorded.items() if kept.calls]
    found = []
    for index, name in enumerate(names):
        report("networks", index, len(names))
        calls = recorded[name].calls
        seen = recorded[name].seen
        closeness, worst, worst_snr = _compare_outputs(candidate, name, calls)
        one, other, ratio = _time_both(reference, candidate, name, call=calls[0], timing=timing)
        size = round(other.weights / max(one.weights, 1), 4)
        found.append(
            NetworkQuality(
                name, one, other, len(calls), seen, closeness, worst, worst_snr, size, ratio
            )
        )
    report("networks", len(names), len(names))
    return found


def _compare_outputs(
    candidate: Bundle, name: str, calls: Sequence[RecordedCall]
) -> tuple[Closeness, str, float]:
    """All outputs together, the name of the worst one, and its SNR."""
    network = candidate.network(name)
    total = ClosenessSums()
    each = {output: ClosenessSums() for output in calls[0].outputs}
    for call in calls:
        outputs = network(call.inputs)
        for output, wanted in call.outputs.items():
            if output not in outputs:
                raise BackendError(
                    f"{candidate.folder}: {name} has no output {output!r}; build the bundle again"
                )
            for sums in (total, each[output]):
                sums.add(outputs[output], wanted, what=f"{name}: output {output!r}")
    snr = {output: sums.result().snr for output, sums in each.items()}
    worst = min(snr, key=lambda output: snr[output])
    return total.result(), worst, snr[worst]


def _time_both(
    reference: Bundle, candidate: Bundle, name: str, *, call: RecordedCall, timing: NetworkTiming
) -> tuple[NetworkSide, NetworkSide, float]:
    """Both sides, and how many times as fast the candidate's is."""
    if is_large(reference, name):
        return _time_in_sequence(reference, candidate, name, call=call)
    one = reference.network(name)
    other = candidate.network(name)
    calls = {"reference": lambda: one(call.inputs), "candidate": lambda: other(call.inputs)}
    found = compare_side_by_side(calls, warmup=timing.warmup, repeats=timing.repeats)
    sides = (
        _describe(reference, name, found.reports["reference"]),
        _describe(candidate, name, found.reports["candidate"]),
    )
    return *sides, round(found.ratios["candidate"], 3)


def _time_in_sequence(
    reference: Bundle, candidate: Bundle, name: str, *, call: RecordedCall
) -> tuple[NetworkSide, NetworkSide, float]:
    """The same with one of both open at a time; the candidate, which is open already, first."""
    sides = []
    for bundle in (candidate, reference):
        network = bundle.network(name)
        time = measure_calls(
            partial(network, call.inputs), warmup=1, repeats=_LARGE_REPEATS, label=name
        )
        sides.append(_describe(bundle, name, time))
        bundle.close_network(name)
    other, one = sides
    return one, other, round(one.median / max(other.median, 1e-9), 3)


def _describe(bundle: Bundle, name: str, time: LatencyReport) -> NetworkSide:
    return NetworkSide(
        precision=name_precision(bundle, name),
        compute=bundle.network(name).precision,
        weights=bundle.measure_weights(name),
        median=float(f"{time.p50:.4g}"),
        p90=float(f"{time.p90:.4g}"),
        **measure_storage(bundle, [name]),
    )
