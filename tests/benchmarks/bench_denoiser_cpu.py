"""The denoiser on a CPU: our engines against PyTorch in its quickest ways, all cores busy.

PyTorch runs fp32 and bf16 eager, bf16 channels-last, and compiled with freezing; each in one
process and in as many as there are cores. Every contestant meets the same one of ours in
turns, two at a time, so that memory holds them and noise meets both. Ours stays open
between.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from cpu_contestants import Contestant, Team, count_cores, list_contestants, open_team
from cpu_worker import FORMS, open_denoiser, write_own_graph
from random_bundle import default_folder
from results_file import parse_arguments, write_results

from echoexport.profiles.measuring.circumstances import describe_machine

BASELINE = "openvino bf16"
"""What each meets, where the CPU has bf16; else the same in fp32."""


def main() -> None:
    """Measure each size and write the results after each contestant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=[*FORMS, "all"], default="half", help="network widths")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each pair")
    parser.add_argument("--only", action="append", default=[], help="a part of labels; repeatable")
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where graphs and weights are kept"
    )
    arguments = parse_arguments(parser, name="denoiser_cpu")
    results: dict[str, Any] = {}
    for size in FORMS if arguments.size == "all" else [arguments.size]:
        found = results[size] = describe_size(size)
        write_own_graph(open_denoiser(arguments.folder, size))
        with open_team(find_baseline(), arguments.folder, size=size) as base:
            for contestant in choose_contestants(arguments.only):
                measure(contestant, base, found=found, arguments=arguments, size=size)
                summarize_quickest(found)
                write_results(arguments.output, {"baseline": BASELINE, "sizes": results})


def describe_size(size: str) -> dict[str, Any]:
    """What is the same for all contestants."""
    pixels, frames = FORMS[size]
    return {
        "pixels": pixels,
        "frames": frames,
        "cores": count_cores(),
        "load_before": describe_machine().load,
        "contestants": {},
        "not_measured": {},
    }


def choose_contestants(only: list[str]) -> list[Contestant]:
    """Those asked for; all where nobody asks."""
    return [
        one for one in list_contestants() if not only or any(part in one.label for part in only)
    ]


def find_baseline() -> Contestant:
    """The one that all others meet."""
    from echoexport.runtime.backends import load_backend

    known = {one.label: one for one in list_contestants()}
    has = load_backend("openvino").arithmetic()
    return known[BASELINE if "bf16" in has else "openvino fp32"]


def measure(
    contestant: Contestant,
    base: Team | str,
    *,
    found: dict[str, Any],
    arguments: argparse.Namespace,
    size: str,
) -> None:
    """One contestant against the baseline, or why it was not measured."""
    with open_team(contestant, arguments.folder, size=size) as team:
        if isinstance(base, str) or isinstance(team, str):
            trouble = base if isinstance(base, str) else team
            found["not_measured"][contestant.label] = trouble
            sys.stdout.write(f"  {contestant.label:<36} not measured: {trouble}\n")
            return
        entry = take_turns(base, team, rounds=arguments.rounds)
    found["contestants"][contestant.label] = entry
    sys.stdout.write(
        f"  {contestant.label:<36} median {1000 * entry['p50']:8.1f} ms a call   "
        f"{entry['against_baseline']:5.2f} x {base.contestant.label}\n"
    )
    sys.stdout.flush()


def take_turns(base: Team, other: Team, *, rounds: int) -> dict[str, Any]:
    """Seconds of a call of each, and the median of the turns' ratios; a first turn is dropped."""
    pairs = [(base.run(), other.run()) for _ in range(rounds + 1)][1:]
    return {
        "p50": round(statistics.median(pair[1] for pair in pairs), 5),
        "min": round(min(pair[1] for pair in pairs), 5),
        "baseline_p50": round(statistics.median(pair[0] for pair in pairs), 5),
        "against_baseline": round(statistics.median(one / two for one, two in pairs), 3),
        "calls_at_once": other.contestant.calls,
        "processes": other.contestant.processes,
        "threads": other.contestant.threads,
        "rounds": rounds,
        "load": describe_machine().load,
    }


def summarize_quickest(found: dict[str, Any]) -> None:
    """The quickest of PyTorch and of ours, for one call at a time and for all cores busy."""
    for key, side_by_side in (("one_call", False), ("all_cores", True)):
        quickest = {
            who: max(
                (
                    (entry["against_baseline"], label)
                    for label, entry in found["contestants"].items()
                    if label.startswith(who) and (side_by_side or entry["calls_at_once"] == 1)
                ),
                default=None,
            )
            for who in ("pytorch", "openvino")
        }
        theirs, ours = quickest["pytorch"], quickest["openvino"]
        if theirs is not None and ours is not None:
            found[f"quickest_{key}"] = {
                "pytorch": theirs[1],
                "ours": ours[1],
                "times_faster": round(ours[0] / theirs[0], 3),
            }


if __name__ == "__main__":
    main()
