"""Tables of speed against PyTorch, drawn from the results files.

Run it to bring the documents up to date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
SOURCES = ("runtime_vs_pytorch_bf16.json", "runtime_vs_pytorch.json", "int8_speed.json")
GPU_SOURCE = "denoiser_gpu.json"

_HEAD = (
    "| what | denoiser, ms a call | against PyTorch | whole render against PyTorch | on |",
    "| --- | --- | --- | --- | --- |",
)
_GPU_HEAD = (
    "| what | denoiser, ms a call | against the quickest PyTorch | off plain PyTorch, of the "
    "largest value |",
    "| --- | --- | --- | --- |",
)


class Table(NamedTuple):
    """A document, the marks around its table, and what draws the table."""

    path: Path
    begin: str
    end: str
    draw: Callable[[], str]

    def find(self, text: str) -> str:
        """What stands between the two marks."""
        found = re.search(f"{re.escape(self.begin)}\n(.*?)\n{re.escape(self.end)}", text, re.DOTALL)
        if found is None:
            raise SystemExit(
                f"{self.path.name}: the marks {self.begin} and {self.end} are not there"
            )
        return found[1]

    def replace(self, text: str, table: str) -> str:
        """The document with this table between its marks."""
        return text.replace(self.find(text), table)


def main() -> None:
    """Put the tables of the results as they are into the documents."""
    for table in TABLES.values():
        text = table.path.read_text(encoding="utf-8")
        table.path.write_text(table.replace(text, table.draw()), encoding="utf-8")
        sys.stdout.write(f"written: {table.path}\n")


def draw_table() -> str:
    """Markdown: a line for each contestant of each results file."""
    return "\n".join([*_HEAD, *(line for name in SOURCES for line in _draw_lines(_read(name)))])


def draw_gpu_table() -> str:
    """Markdown: a line for each contestant on the GPU."""
    results = _read(GPU_SOURCE)
    contestants = results["contestants"]
    quickest = contestants[results["best_baseline"]]["p50"]
    return "\n".join(
        [
            *_GPU_HEAD,
            *(
                f"| {label} | {1000 * one['p50']:.1f} | {quickest / one['p50']:.2f} × | "
                f"{one['difference']:g} |"
                for label, one in contestants.items()
            ),
        ]
    )


def _draw_lines(results: dict[str, Any]) -> Iterator[str]:
    machine = results["conditions"]["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores"
    half = results["sizes"]["half"] if "sizes" in results else {}
    calls = half.get("denoiser_call") or results["contestants"]
    renders = half.get("render", {}).get("contestants", {})
    for label, call in calls.items():
        render = f"{renders[label]['times_faster']:.2f} ×" if label in renders else ""
        figures = f"{1000 * call['p50']:.0f} | {call['times_faster']:.2f} ×"
        yield f"| {label} | {figures} | {render} | {where} |"


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


_END = "<!-- end of the table -->"
_DRAWN = "drawn by tests/benchmarks/readme_table.py -->"
TABLES = {
    "cpu": Table(ROOT / "README.md", f"<!-- speed against PyTorch: {_DRAWN}", _END, draw_table),
    "gpu": Table(
        ROOT / "docs" / "onnxruntime-gpu.md", f"<!-- speed on a GPU: {_DRAWN}", _END, draw_gpu_table
    ),
}


if __name__ == "__main__":
    main()
