"""The documents' tables of speed are those that the results files give."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def readme_table() -> ModuleType:
    """The script that draws it, which lies among the benchmarks."""
    spec = importlib.util.spec_from_file_location(
        "readme_table", ROOT / "tests" / "benchmarks" / "readme_table.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_documents_hold_the_tables_of_the_results(readme_table: ModuleType, name: str) -> None:
    table = readme_table.TABLES[name]
    assert table.find(table.path.read_text(encoding="utf-8")) == table.draw()


def test_every_contestant_of_every_file_has_a_line_with_its_machine(
    readme_table: ModuleType,
) -> None:
    table = readme_table.draw_table()
    assert table.count("| pytorch fp32 |") == len(readme_table.SOURCES)
    assert table.count("EPYC") >= 1 and table.count("| openvino int8 |") == 1


def test_the_gpus_table_tells_speed_against_the_quickest_pytorch(readme_table: ModuleType) -> None:
    lines = readme_table.draw_gpu_table().splitlines()[2:]
    assert [line.count("| 1.00 × |") for line in lines if line.startswith("| pytorch")].count(
        1
    ) == 1
    assert sum(line.startswith("| ort_cuda |") for line in lines) == 1


def test_a_table_that_is_out_of_date_is_replaced_whole(readme_table: ModuleType) -> None:
    table = readme_table.TABLES["cpu"]
    old = f"before\n{table.begin}\n| old |\n| row |\n{table.end}\nafter\n"
    assert table.replace(old, "| new |") == f"before\n{table.begin}\n| new |\n{table.end}\nafter\n"


def test_a_document_without_the_marks_is_told_of(readme_table: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"README\.md: the marks"):
        readme_table.TABLES["cpu"].find("no table here")
