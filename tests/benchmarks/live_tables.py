"""Tables of what was measured of frames that are drawn as speech comes, as Markdown."""

from __future__ import annotations

from measured_tables import Results, draw_table


def draw_live_quality(results: Results) -> str:
    """Every way of drawing forwards only; what misses its gate is in bold."""
    bundle = results["bundle"]
    circumstances = (
        f"Of {results['clips']} held-out clips as many as the table says, at "
        f"{results['fps']:g} fps; {bundle['compute']} ({', '.join(results['flags'])}); bounded "
        f"sound by `{bundle['bounded_sound']}`; the bundle's own steps: "
        f"{results['default_steps']}."
    )
    head = (
        "way",
        "steps",
        "clips",
        "r, mean / worst",
        "loss, mean / worst",
        f"loss to {results['default_steps']} steps",
        "lag",
        "closed",
        "flicker",
        "seams, mouth / outside",
        "PSNR, mean / worst",
        "SSIM",
        "calls",
        "delay, ms",
    )
    rows = [list_live_cells(way) for way in results["ways"]]
    return f"{circumstances}\n\n{draw_table(head, rows)}{draw_drift(results['drift'])}"


def list_live_cells(way: Results) -> list[str]:
    """One way's row."""
    told = {name: describe_figure(way, name) for name in LIVE_DIGITS}
    return [
        way["way"],
        str(way["steps"]),
        str(way["clips"]),
        f"{told['correlation']} / {told['correlation_worst']}",
        f"{told['loss']} / {told['loss_worst']}",
        f"{told['loss_default']} / {told['loss_default_worst']}",
        told["lag"],
        told["closed"],
        told["flicker"],
        f"{told['seam_mouth']} / {told['seam_outside']}" if way["seam_mouth"] else "",
        f"{told['psnr']} / {told['psnr_worst']}" if way["psnr"] else "",
        told["ssim"],
        told["calls"],
        told["delay"],
    ]


LIVE_DIGITS = {
    "correlation": ".3f",
    "correlation_worst": ".3f",
    "loss": "+.3f",
    "loss_worst": "+.3f",
    "loss_default": "+.3f",
    "loss_default_worst": "+.3f",
    "lag": "d",
    "closed": ".1%",
    "flicker": ".3f",
    "seam_mouth": ".2f",
    "seam_outside": ".2f",
    "psnr": ".1f",
    "psnr_worst": ".1f",
    "ssim": ".4f",
    "calls": ".2f",
    "delay": ".1f",
}


def describe_figure(way: Results, name: str) -> str:
    """A figure with as many digits as mean something; bold where it misses its gate."""
    value = way[name]
    if value is None:
        return ""
    told = format(value, LIVE_DIGITS[name])
    return f"**{told}**" if name in way["missed"] else told


def draw_drift(drifts: list[Results]) -> str:
    """A sentence for each long clip."""
    told = [
        f"Over {one['seconds']:g} s, {one['way']} at {one['steps']} steps, the last 10 s less "
        f"the first: SSIM {one['last']['ssim'] - one['first']['ssim']:+.4f}, PSNR "
        f"{one['last']['psnr'] - one['first']['psnr']:+.2f} dB, CIEDE2000 "
        f"{one['last']['delta_e'] - one['first']['delta_e']:+.3f}."
        for one in drifts
    ]
    return "".join(f"\n\n{line}" for line in told)


def draw_live_costs(results: Results) -> str:
    """What live sessions cost, one way of sampling a row."""
    head = (
        "way",
        "moved after 200 ms, p50 / p95",
        "pushed at once",
        "still after an interrupt, p95",
        "idle, cores",
        "one session: late; delay p50 / p99",
        "sessions; late",
        "frames a second",
    )
    rows = [list_cost_cells(name, found) for name, found in results["measured"].items()]
    bundle = results["bundle"]
    told = f"{bundle[0].upper()}{bundle[1:]}; {results['rounds']} rounds each; milliseconds."
    return f"{told}\n\n{draw_table(head, rows)}"


def list_cost_cells(name: str, found: Results) -> list[str]:
    """One way's row; empty where it was not measured."""
    full = found["full"]
    alone = found.get("alone")
    told = "" if alone is None else describe_session(alone)
    still = found.get("still_ms_after_interrupt")
    idle = found.get("idle")
    return [
        name,
        describe_ranks(found["first_moved_ms_after_200_ms"]),
        describe_ranks(found["first_moved_ms_at_once"]),
        "" if still is None else f"{still['p95']:.0f}",
        "" if idle is None else f"{idle['cores']:.3f}",
        told,
        f"{full['sessions']}; {full['late_frames']}",
        f"{full['fps_capacity']:.0f}",
    ]


def describe_ranks(ranks: Results) -> str:
    """Median and 95th percentile."""
    return f"{ranks['p50']:.0f} / {ranks['p95']:.0f}"


def describe_session(alone: Results) -> str:
    """Late frames and delay of one session."""
    return f"{alone['late_frames']}; {alone['delay_ms_p50']:.0f} / {alone['delay_ms_p99']:.0f}"


def draw_live_soak(results: Results) -> str:
    """An hour of talk, in a few figures."""
    warm = [minute["rss"] for minute in results["by_minute"][9:]]
    rows = [
        ["minutes", str(results["minutes"])],
        [
            "memory from the tenth minute on, MB",
            f"{min(warm) / 1e6:.0f} to {max(warm) / 1e6:.0f}",
        ],
        ["open files left, threads left", f"{results['handles_left']}, {results['threads_left']}"],
        ["late frames", f"{results['late_frames']} of {results['by_minute'][-1]['frames']}"],
    ]
    return f"One session at 25 fps, {results['note']}.\n\n{draw_table(('what', 'figure'), rows)}"


def draw_live_clock(results: Results) -> str:
    """Twelve hours of a clock of its own, in a few figures."""
    last = results["by_hour"][-1]
    rows = [
        ["simulated hours, frames taken", f"{results['hours']}, {last['frames']:,}"],
        ["spread of the hours' median delay, ms", f"{results['delay_ms_spread']:g}"],
        ["late frames", str(last["late_frames"])],
        [
            "memory after the first and the last hour, MB",
            f"{results['by_hour'][0]['rss'] / 1e6:.1f}, {last['rss'] / 1e6:.1f}",
        ],
        [
            "Python objects after the second and the last hour",
            f"{results['by_hour'][1]['objects']:,}, {last['objects']:,}",
        ],
    ]
    return draw_table(("what", "figure"), rows)
