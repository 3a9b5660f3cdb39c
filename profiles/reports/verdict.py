"""Is it real time, and what would make it so: the line that a profile begins with."""

from __future__ import annotations

from collections.abc import Sequence

from echoexport.profiles.modelling.demand import DENOISER
from echoexport.profiles.modelling.forecast import Forecast, OptionForecast
from echoexport.profiles.reports.profile import NOISE, ModeReport, Verdict

__all__ = ["find_noise", "find_quicker", "find_remedies", "find_slowest", "give_verdict"]


def give_verdict(modes: Sequence[ModeReport], forecast: Forecast, *, wanted: float) -> Verdict:
    """On the first of the modes, held to ``wanted`` frames a second."""
    mode = modes[0]
    fps = mode.steady_fps or mode.fps
    real_time = fps >= wanted
    noisy = find_noise(modes)
    remedies: tuple[str, ...] = ()
    if real_time:
        line = f"real-time at {wanted:g} fps: yes, {_cut(fps / wanted)} x headroom"
    else:
        remedies = find_remedies(forecast, fps=fps, wanted=wanted)
        told = (
            "these changes would do it (modelled)"
            if remedies
            else "no change that the model knows would do it"
        )
        line = f"real-time at {wanted:g} fps: no, {fps:.3g} fps; {told}"
    return Verdict(wanted, fps, fps / wanted, real_time, line, remedies, noisy)


def find_remedies(forecast: Forecast, *, fps: float, wanted: float) -> tuple[str, ...]:
    """Options that would reach ``wanted``, in a line each.

    An option's pace is the measured one times the model's gain: its modelled frames a
    second by those of the bundle as it is, on the bundle's own target, so that the
    efficiency cancels out. It is empty where nothing is modelled.
    """
    board = next(
        (board for board in forecast.boards if board.target == forecast.options_target), None
    )
    if board is None or not board.fps_high:
        return ()
    found = []
    for option in forecast.options:
        gained = None if option.fps_high is None else fps * option.fps_high / board.fps_high
        if gained is not None and gained >= wanted:
            found.append(f"{option.name}: {gained:.3g} fps modelled ({_describe_cost(option)})")
    return tuple(found)


def find_noise(modes: Sequence[ModeReport]) -> str:
    """A line where halves of the repeats differ too much in the denoiser's median, else ""."""
    worst = max(modes, key=lambda mode: mode.drift or 0.0)
    if worst.drift is None or worst.drift <= NOISE:
        return ""
    return (
        f"the machine was noisy: {DENOISER}'s median differs by {100 * worst.drift:.0f} % "
        "between halves of the "
        f"repeats ({worst.name}; more than {100 * NOISE:.0f} %)"
    )


def find_quicker(modes: Sequence[ModeReport]) -> str:
    """A line where another mode than the first renders the clip clearly quicker, else ""."""
    first = modes[0]
    quickest = min(modes, key=lambda mode: mode.wall.figures.p50)
    ratio = first.wall.figures.p50 / max(quickest.wall.figures.p50, 1e-9)
    return (
        f"rendering {quickest.name} is {ratio:.2f} x as quick as {first.name} here"
        if ratio > 1 + NOISE
        else ""
    )


def find_slowest(mode: ModeReport) -> str:
    """Which network takes most of the time, in a line; "" where none ran."""
    if not mode.networks:
        return ""
    slowest = max(mode.networks, key=lambda network: network.calls * network.host.figures.mean)
    share = 100 * slowest.calls * slowest.host.figures.mean / mode.wall.figures.mean
    return (
        f"{slowest.name} takes {share:.0f} % of the time {mode.name} ({slowest.calls} calls a clip)"
    )


def _describe_cost(option: OptionForecast) -> str:
    cost = option.cost
    return (
        "cost in quality not measured"
        if cost.psnr is None
        else f"{cost.psnr:.1f} dB PSNR on the built-in character"
    )


def _cut(headroom: float) -> str:
    """Two decimals below 1.1, one above, cut and not rounded: what is promised is there."""
    digits = 100 if headroom < 1.1 else 10
    return f"{int(headroom * digits) / digits:g}"
