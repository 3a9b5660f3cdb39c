"""The README's table of speed is the one that the results files give."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def readme_table() -> ModuleType:
    """The script that draws it, which lies among the benchmarks."""
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "tests" / "benchmarks" / "readme_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_holds_the_table_of_the_results(readme_table: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_table.find_table(text) == readme_table.draw_table()


def test_every_contestant_of_every_file_has_a_line_with_its_machine(readme_table: ModuleType) -> None:
    table = readme_table.draw_table()
    assert table.count("| pytorch fp32 |") == len(readme_table.SOURCES)
    assert table.count("EPYC") >= 1 and table.count("| openvino int8 |") == 1


def test_a_table_that_is_out_of_date_is_replaced_whole(readme_table: ModuleType) -> None:
    old = f"before\n{readme_table.BEGIN}\n| old |\n| row |\n{readme_table.END}\nafter\n"
    new = readme_table.replace_table(old, "| new |")
    assert new == f"before\n{readme_table.BEGIN}\n| new |\n{readme_table.END}\nafter\n"


def test_a_readme_without_the_marks_is_told_of(readme_table: ModuleType) -> None:
    with pytest.raises(SystemExit, match="marks"):
        readme_table.find_table("no table here")
