"""Draws what the results files say into docs/measurements.md.

Run it to bring the page up to date. It needs nothing but Python.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import live_tables
import measured_tables as tables
import serve_tables

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[2] / "docs"
SPEED_SOURCES = ("runtime_vs_pytorch_bf16", "runtime_vs_pytorch", "int8_speed")
QUALITY_SOURCES = ("demo_quality_1", "demo_quality_2", "demo_quality_3", "demo_quality")
END = "<!-- end -->"


def main() -> None:
    """Put every part as the results are now into its page."""
    for path in sorted({part.path for part in PARTS.values()}):
        page = path.read_text(encoding="utf-8")
        for name in (name for name, part in PARTS.items() if part.path == path):
            page = replace_part(page, name, drawn=draw_part(name))
        path.write_text(page, encoding="utf-8")
        sys.stdout.write(f"written: {path}\n")


def draw_part(name: str) -> str:
    """Markdown: under which circumstances, and the table."""
    part = PARTS[name]
    results = [read_results(source) for source in part.sources]
    told = [
        f"`{source}.json`: {tables.describe_conditions(one['conditions'], word=part.word)}."
        for source, one in zip(part.sources, results, strict=True)
    ]
    return "\n\n".join([*told, part.draw(*results)])


def find_part(page: str, name: str) -> str:
    """What stands between a part's two marks."""
    found = re.search(f"{re.escape(begin_mark(name))}\n\n(.*?)\n\n{END}", page, re.DOTALL)
    if found is None:
        raise SystemExit(f"{PARTS[name].path.name}: the marks of {name!r} are not there")
    return found[1]


def replace_part(page: str, name: str, *, drawn: str) -> str:
    """The page with this text between the part's marks."""
    return page.replace(
        f"{begin_mark(name)}\n\n{find_part(page, name)}\n\n{END}",
        f"{begin_mark(name)}\n\n{drawn}\n\n{END}",
    )


def begin_mark(name: str) -> str:
    """The line above a part."""
    return f"<!-- {name}: drawn by tests/benchmarks/draw_measurements.py -->"


def read_results(name: str) -> tables.Results:
    """One results file."""
    found: tables.Results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


class Part(NamedTuple):
    """A part of a page: the files that it is drawn from, and what draws it."""

    sources: tuple[str, ...]
    draw: Callable[..., str]
    word: str = ""
    page: str = "measurements.md"

    @property
    def path(self) -> Path:
        """The page's file."""
        return DOCS / self.page


PARTS = {
    "speed against PyTorch": Part(SPEED_SOURCES, tables.draw_speed),
    "int8 against PyTorch": Part(("int8_speed",), tables.draw_int8_accuracy),
    "speed on a GPU": Part(("denoiser_gpu",), tables.draw_gpu),
    "the demo character's speed": Part(("demo_speed",), tables.draw_character_speed),
    "the demo character's quality": Part(QUALITY_SOURCES, tables.draw_character_quality),
    "opening": Part(("compiled_start",), tables.draw_opening),
    "int8 at full size": Part(("int8_full_size",), tables.draw_full_size_int8),
    "calibration": Part(("calibration_methods",), tables.draw_calibration),
    "TensorRT-RTX at full size": Part(("tensorrt_rtx_full",), tables.draw_rtx),
    "TensorRT-RTX, tiny": Part(("tensorrt_rtx_tiny",), tables.draw_rtx),
    "tracing": Part(("trace_overhead",), tables.draw_tracing),
    "imports": Part(("import",), tables.draw_imports),
    "profiles": Part(("profile",), tables.draw_profiles),
    "the reference cache": Part(("reference_cache",), tables.draw_reference),
    "work": Part(("work_full_size",), tables.draw_work, word="counted"),
    "windows that only go forwards": Part(
        ("live_quality",), live_tables.draw_live_quality, page="live.md"
    ),
    "windows with an utterance heard as its clip": Part(
        ("live_quality_whole",), live_tables.draw_live_quality, page="live.md"
    ),
    "four steps, the clips that were missing": Part(
        ("live_quality_four",), live_tables.draw_live_quality, page="live.md"
    ),
    "what live sessions cost": Part(("live",), live_tables.draw_live_costs, page="live.md"),
    "an hour of talk": Part(("live_soak",), live_tables.draw_live_soak, page="live.md"),
    "twelve hours of a clock": Part(("live_clock",), live_tables.draw_live_clock, page="live.md"),
    "what a browser shows": Part(("serve",), serve_tables.draw_serve, page="serve.md"),
    "twelve hours served": Part(("serve_clock",), serve_tables.draw_serve_clock, page="serve.md"),
}


if __name__ == "__main__":
    main()
