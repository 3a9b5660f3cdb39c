"""Tables of what was measured of a served bundle, as Markdown."""

from __future__ import annotations

from measured_tables import Results, draw_table


def draw_serve(results: Results) -> str:
    """What a browser showed, a figure a row."""
    measured = results["measured"]
    turns, together, idle = measured["turns"], measured["together"], measured["idle"]
    full, restart = measured["full"], measured["restart"]
    rows = [
        ("moved mouth seen after the first 200 ms", describe_rank(turns, "first_shown"), turns),
        ("the server's first frame, after them", describe_rank(turns, "first_frame"), turns),
        ("last frame of what was cancelled", describe_rank(turns, "old_shown"), turns),
        ("last open mouth after a cancel", describe_rank(turns, "open_shown"), turns),
        (
            f"picture ahead of sound, {together['minutes']:g} minutes, p1 / p50 / p99",
            " / ".join(f"{value:.0f}" for value in together["offset_ms_p1_p50_p99"]),
            together,
        ),
        (
            "its drift from the first to the last minute",
            f"{together['offset_drift_ms']:+.1f}",
            together,
        ),
        *list_webrtc(measured.get("webrtc")),
        (
            f"moved mouth seen after {idle['minutes']:g} idle minutes",
            describe_rank(idle, "first_shown"),
            idle,
        ),
        ("the server's memory over them", f"{idle['rss_growth']:+.1%}", idle),
        ("files and threads more", f"{idle['files_more']}, {idle['threads_more']}", idle),
        (
            f"sessions that speak; late frames in {full['seconds']:g} s",
            f"{full['sessions']}; {full['late_frames']:.0f}",
            full,
        ),
        (
            "a killed client's place is free after",
            f"{1000 * full['place_free_again_s']:.0f}",
            full,
        ),
        (
            "the page plays again after kill -9 and a start",
            f"{1000 * restart['playing_s']:.0f}",
            restart,
        ),
    ]
    told = (
        f"The demo character at 128 px and 25 fps, page and server on the same 2 cores, Chromium "
        f"{measured['chromium']} without a screen; milliseconds where nothing else is said."
    )
    cells = [[what, figure, describe_load(part)] for what, figure, part in rows]
    return f"{told}\n\n{draw_table(('what', 'figure', 'load before, after'), cells)}"


def list_webrtc(part: Results | None) -> list[tuple[str, str, Results]]:
    """The rows of what was played by WebRTC, where that was measured."""
    if part is None:
        return []
    offsets = " / ".join(f"{value:.0f}" for value in part["offset_ms_p1_p50_p99"])
    drift = f"{part['offset_drift_ms']:+.1f}, {part['lag_drift_ms']:+.1f}"
    return [
        (f"by WebRTC: picture ahead of sound, {part['minutes']:g} minutes", offsets, part),
        ("its drift by the browser's word, and by the mouth", drift, part),
    ]


def describe_load(part: Results) -> str:
    """Runnable tasks on average, before and after."""
    return ", ".join(f"{load:g}" for load in part["load"])


def describe_rank(found: Results, begin: str) -> str:
    """Median and 95th percentile of what begins so."""
    name = next(name for name in found if name.startswith(begin))
    rank = found[name]
    return f"p50 {rank['p50']:.0f}, p95 {rank['p95']:.0f} ({rank['rounds']} rounds)"


def draw_serve_clock(results: Results) -> str:
    """Twelve hours of a clock of its own, in a few figures."""
    hours = results["by_hour"]
    rows = [
        ["simulated hours, frames sent", f"{results['hours']}, {hours[-1]['frames']:,}"],
        ["late frames, viewers cut", f"{results['late_frames']}, {hours[-1]['viewers_cut']}"],
        [
            "spread of the hours' first sound, ms",
            f"{results['first_sound_ms_spread']:g}",
        ],
        [
            "ends of picture and sound apart in the first and the last hour, ms",
            " / ".join(f"{apart:g}" for apart in results["apart_ms"]),
        ],
        [
            "memory after the first, second and last hour, MB",
            ", ".join(f"{hours[place]['rss'] / 1e6:.1f}" for place in (0, 1, -1)),
        ],
        [
            "Python objects after the second and the last hour",
            f"{hours[1]['objects']:,}, {hours[-1]['objects']:,}",
        ],
    ]
    return draw_table(("what", "figure"), rows)
