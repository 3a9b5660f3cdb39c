"""The README's table of speed against PyTorch, drawn from the results files; run it to bring the README up to date."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- speed against PyTorch: drawn by tests/benchmarks/readme_table.py -->", "<!-- end of the table -->"
SOURCES = ("runtime_vs_pytorch_bf16.json", "runtime_vs_pytorch.json", "int8_speed.json")

_HEAD = (
    "| what | denoiser, ms a call | against PyTorch | whole render against PyTorch | on |",
    "| --- | --- | --- | --- | --- |",
)


def main() -> None:
    """Put the table of the results as they are into the README."""
    path = ROOT / "README.md"
    path.write_text(replace_table(path.read_text(encoding="utf-8"), draw_table()), encoding="utf-8")
    sys.stdout.write(f"written: {path}\n")


def draw_table() -> str:
    """Markdown: a line for each contestant of each results file."""
    return "\n".join([*_HEAD, *(line for name in SOURCES for line in _draw_lines(_read(name)))])


def find_table(text: str) -> str:
    """What stands in the README between the two marks."""
    found = re.search(f"{re.escape(BEGIN)}\n(.*?)\n{re.escape(END)}", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"README.md: the marks {BEGIN} and {END} are not there")
    return found[1]


def replace_table(text: str, table: str) -> str:
    """The README with this table between its marks."""
    return text.replace(find_table(text), table)


def _draw_lines(results: dict[str, Any]) -> Iterator[str]:
    machine = results["conditions"]["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores"
    half = results["sizes"]["half"] if "sizes" in results else {}
    calls = half.get("denoiser_call") or results["contestants"]
    renders = half.get("render", {}).get("contestants", {})
    for label, call in calls.items():
        render = f"{renders[label]['times_faster']:.2f} ×" if label in renders else ""
        yield f"| {label} | {1000 * call['p50']:.0f} | {call['times_faster']:.2f} × | {render} | {where} |"


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
