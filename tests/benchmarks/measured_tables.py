"""Tables of what was measured, as Markdown: a function for each kind of results file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Results = dict[str, Any]
"""What a results file holds."""


def describe_conditions(conditions: Results, *, word: str = "") -> str:
    """Machine, versions and date in one line, and whether it was measured or modelled.

    ``word`` stands in for that where a file holds neither.
    """
    machine = conditions["machine"]
    libraries = conditions["libraries"].items()
    instructions = " ".join(machine.get("instructions", []))
    return ", ".join(
        [
            f"*{word or conditions['origin']}* on {describe_machine(conditions)}",
            *([instructions] if instructions else []),
            f"{machine['memory'] / 1e9:.0f} GB",
            f"load {machine['load']:g}",
            f"Python {conditions['python']}",
            *(f"{name} {version}" for name, version in libraries if name != "echoexport"),
            conditions["date"][:10],
        ]
    )


def describe_machine(conditions: Results) -> str:
    """A processor and how many of its cores there were."""
    machine = conditions["machine"]
    return f"{machine['processor']}, {machine['cores']} cores"


def draw_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_speed(*files: Results) -> str:
    """Each contestant of each file against eager PyTorch."""
    head = (
        "what",
        "denoiser, ms a call",
        "against PyTorch",
        "whole render against PyTorch",
        "on",
    )
    return draw_table(head, [row for results in files for row in speed_rows(results)])


def speed_rows(results: Results) -> list[list[str]]:
    """A row for each contestant; the render's cell is empty where none was timed."""
    where = describe_machine(results["conditions"])
    half = results["sizes"]["half"] if "sizes" in results else {}
    calls = half.get("denoiser_call") or results["contestants"]
    renders = half.get("render", {}).get("contestants", {})
    return [
        [
            label,
            f"{1000 * call['p50']:.0f}",
            f"{call['times_faster']:.2f} ×",
            f"{renders[label]['times_faster']:.2f} ×" if label in renders else "",
            where,
        ]
        for label, call in calls.items()
    ]


def draw_gpu(results: Results) -> str:
    """Each contestant on the GPU against the quickest way of PyTorch."""
    gpu = results["gpu"]
    contestants = results["contestants"]
    quickest = contestants[results["best_baseline"]]["p50"]
    circumstances = (
        f"{gpu['name']}, driver {gpu['driver']}, CUDA {gpu['cuda_of_pytorch']}; "
        f"{results['pixels']} px, {results['frames']} frames, {results['precision']}, "
        f"medians of {results['rounds']} rounds in turns after {results['warmup']} to warm up."
    )
    head = (
        "what",
        "denoiser, ms a call",
        "against the quickest PyTorch",
        "off plain PyTorch, of the largest value",
    )
    rows = [
        [
            label,
            f"{1000 * one['p50']:.1f}",
            f"{quickest / one['p50']:.2f} ×",
            f"{one['difference']:g}",
        ]
        for label, one in contestants.items()
    ]
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_cpu(results: Results) -> str:
    """Each contestant on the CPU against the quickest PyTorch, for each size."""
    return "\n\n".join(_draw_cpu_size(name, one) for name, one in results["sizes"].items())


def _draw_cpu_size(name: str, size: Results) -> str:
    contestants = size["contestants"]
    base = max(
        (one["against_baseline"] for label, one in contestants.items() if label[:7] == "pytorch"),
        default=None,
    )
    rounds = max((one["rounds"] for one in contestants.values()), default=0)
    circumstances = (
        f"Size {name}: {size['pixels']} px, {size['frames']} frames, {size['cores']} cores, "
        f"medians of {rounds} turns with one engine of ours, seconds of a round over its calls."
    )
    head = ("what", "calls at once", "denoiser, ms a call", "against the quickest PyTorch")
    rows = [
        [
            label,
            str(one["calls_at_once"]),
            f"{1000 * one['p50']:.1f}",
            "" if base is None else f"{one['against_baseline'] / base:.2f} ×",
        ]
        for label, one in contestants.items()
    ]
    rows += [[f"{label}: {why}", "", "", ""] for label, why in size["not_measured"].items()]
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_character_speed(results: Results) -> str:
    """The demo character rendered by a fresh process."""
    circumstances = (
        f"{results['compute']}, target `{results['target']}`, {results['frames']} frames at "
        f"{results['fps']} fps, medians of {results['repeats']}, the portrait's reference "
        f"{results['reference']}."
    )
    head = ("steps", "frames a second", "real-time factor", "first frame", "peak memory")
    rows = [
        [
            name.removesuffix(" steps"),
            f"{one['frames_per_second']:.1f}",
            f"{one['real_time_factor']:.2f}",
            f"{one['cold_start_seconds']:.1f} s",
            f"{one['peak_memory'] / 1e6:.0f} MB",
        ]
        for name, one in results["medians"].items()
    ]
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_character_quality(*runs: Results) -> str:
    """The gates of the demo character, each with its limit, at several numbers of steps."""
    first = runs[0]["settings"]
    circumstances = (
        f"{first['clips']} held-out clips that speak and {first['silent']} silent ones, "
        f"{runs[0]['bundle']['compute']}, {first['fps']:g} fps, {first['size']} px; drift over "
        f"{first['drift_seconds']:g} s; from the same files of networks."
    )
    steps = [run["settings"]["steps"] for run in runs]
    heads = ["1 step" if count == 1 else f"{count} steps" for count in steps]
    rows = [
        [lines[0]["what"], describe_limit(lines[0]), *(f"{line['value']:.4g}" for line in lines)]
        for lines in zip(*(run["lines"] for run in runs), strict=True)
    ]
    return f"{circumstances}\n\n{draw_table(('figure', 'wanted', *heads), rows)}"


def describe_limit(line: Results) -> str:
    """``>= 0.85``; empty where none is set."""
    sign = ">=" if line["at_least"] else "<="
    return "" if line["limit"] is None else f"{sign} {line['limit']:g}"


def draw_opening(results: Results) -> str:
    """Six networks opened by a fresh process, portable and compiled."""
    head = ("bundle", "seconds", "the slowest", "peak memory")
    rows = [
        [
            name,
            f"{one['load']:.2f}",
            f"{one['slowest_load']:.2f}",
            f"{one['peak'] / 1e6:.0f} MB",
        ]
        for name, one in results["medians"].items()
    ]
    return f"Medians of {results['repeats']}.\n\n{draw_table(head, rows)}"


def draw_full_size_int8(results: Results) -> str:
    """The full-size networks in int8 against fp32."""
    whole = results["headline"]
    steps = [
        f"`{step['command']}` {step['seconds'] / 60:.0f} min, {step['peak_gb']:.1f} GB peak"
        for step in results["steps"]
    ]
    circumstances = (
        f"{results['size']} px, {results['samples']} samples; {'; '.join(steps)}. Frames "
        f"{whole['psnr']:.1f} dB PSNR against fp32 (worst {whole['psnr_worst']:.1f}), SSIM "
        f"{whole['ssim']:.3f}; weights {whole['weights']:.3f} × the size. Noted: {results['note']}."
    )
    head = ("network", "SNR, dB", "times faster", "seconds a call", "in int8", "weights")
    rows = [
        [
            f"`{name}`",
            f"{one['snr_db']:.1f}",
            f"{one['times_faster']:.2f} ×",
            f"{one['median']:.3g}",
            f"{one['int8_share']:.2%}",
            f"{one['of_fp32']:.3f} ×",
        ]
        for name, one in results["networks"].items()
    ]
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_int8_accuracy(results: Results) -> str:
    """How near each contestant of the half-channel denoiser comes to PyTorch."""
    rows = [
        [label, f"{one['times_faster']:.2f} ×", f"{one['snr_db']:.1f}"]
        for label, one in results["contestants"].items()
        if "snr_db" in one
    ]
    small = results["quantized"]
    circumstances = (
        f"{small['samples']} samples; the int8 file is {small['size_of_fp32']:.3f} × as large as "
        f"fp32's, {small['int8_share']:.2%} of its weights in int8."
    )
    ratios = [f"{pair}: {ratio:.2f} ×" for pair, ratio in results["times_faster"].items()]
    head = ("what", "against PyTorch", "SNR against PyTorch, dB")
    return f"{circumstances} Speed of {'; '.join(ratios)}.\n\n{draw_table(head, rows)}"


def draw_calibration(results: Results) -> str:
    """What each way to take ranges is worth."""
    circumstances = (
        f"{results['engine']}, calibrated on {results['calibrated_on']} calls and judged on "
        f"{results['judged_on']} others; int8 weights alone {results['weights_alone_db']:.2f} dB."
    )
    head = ("ranges", "over the steps", "SmoothQuant", "SNR, dB", "over min-max, dB")
    rows = [
        [
            one["method"],
            one["combine"].replace("_", " "),
            "yes" if one["smooth"] else "no",
            f"{one['snr_db']:.2f}",
            f"{one['over_minmax_db']:+.2f}",
        ]
        for one in sorted(results["table"], key=lambda one: -one["snr_db"])
    ]
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_rtx(results: Results) -> str:
    """What NVIDIA's parser and builder made of each network."""
    networks = results["networks"]
    nested = networks if "fp16" in networks else {results["precision"]: networks}
    circumstances = (
        f"{' × '.join(map(str, results['size']))} px, {results['window_frames']} frames, built for "
        f"{results['target']}. {results.get('note', 'A process each')}."
    )
    head = ("network", "precision", "version", "parsed, s", "built, s", "engine", "peak memory")
    rows = [
        [
            f"`{name}`",
            precision,
            one["version"],
            f"{one['parse_seconds']:.2f}",
            f"{one['build_seconds']:.1f}",
            f"{one['engine_bytes'] / 1e6:.0f} MB",
            f"{one['peak_bytes'] / 1e9:.1f} GB",
        ]
        for precision, ones in nested.items()
        for name, one in ones.items()
    ]
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_tracing(results: Results) -> str:
    """The same clip with tracing off, on, and off again."""
    circumstances = (
        f"{results['compute']}, {results['frames']} frames, {results['spans']} spans, "
        f"{results['microseconds_per_span']:g} µs a span."
    )
    head = ("tracing", "seconds, median", "against off", "processor time against off")
    rows = [
        [
            name,
            f"{clip['p50']:.3f}",
            f"{results['ratio_of_medians'][name]:.3f} ×",
            f"{results['ratio_of_processor_time'][name]:.3f} ×",
        ]
        for name, clip in results["clips"].items()
    ]
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_imports(results: Results) -> str:
    """Seconds of whole processes."""
    rows = [
        [name, f"{one['p50']:.2f}", f"{one['p90']:.2f}", str(one["repeats"])]
        for name, one in results["processes"].items()
    ]
    return draw_table(("process", "seconds, median", "p90", "repeats"), rows)


def draw_profiles(results: Results) -> str:
    """Two profiles of one bundle, one after the other."""
    names = ("frames a second", "denoiser, ms a call", "unaccounted for", "verdict")
    rows = [
        [f"{fps:.1f}", f"{1000 * call:.2f}", f"{share:.2%}", verdict]
        for fps, call, share, verdict in zip(
            results["fps"],
            results["denoiser_p50"],
            results["unaccounted_share"],
            results["verdicts"],
            strict=True,
        )
    ]
    told = f"Denoisers {results['apart']:.1%} apart, where {results['allowed']:.0%} is allowed."
    noise = [f"The report says: {line}." for line in results["noisy"]]
    return f"{' '.join([told, *noise])}\n\n{draw_table(names, rows)}"


def draw_reference(results: Results) -> str:
    """A short clip of tiny networks with and without the reference at hand."""
    runs = {name: one for name, one in results.items() if name.endswith(("run", "disk", "memory"))}
    rows = [
        [name, f"{one['p50']:.3f}", f"{one['times_faster']:.2f} ×", str(sum(one["calls"].values()))]
        for name, one in runs.items()
    ]
    head = ("run", "seconds, median", "times faster", "calls of the portrait's networks")
    circumstances = (
        f"Networks of size {results['size']!r}, {results['pixels']} px, medians of "
        f"{results['repeats']}."
    )
    return f"{circumstances}\n\n{draw_table(head, rows)}"


def draw_work(results: Results) -> str:
    """Operations and bytes, counted from the graphs: computed, and not timed."""
    rows = [
        [
            f"`{name}`",
            pixels,
            f"{one['gflop']:.0f}",
            f"{one['attention_gflop']:.0f}",
            f"{one['weights_gb']:.2f}",
            f"{one['fused_gb']:.2f}",
        ]
        for pixels, networks in results["pixels"].items()
        for name, one in networks.items()
    ]
    head = ("network", "px", "GFLOP", "of these attention", "weights, GB", "activations moved, GB")
    return f"{results['note']}.\n\n{draw_table(head, rows)}"
