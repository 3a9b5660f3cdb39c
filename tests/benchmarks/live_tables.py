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
