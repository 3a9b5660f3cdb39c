"""The pages of docs/ say what the results files say."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
PARTS = (
    "speed against PyTorch",
    "int8 against PyTorch",
    "speed on a GPU",
    "the demo character's speed",
    "the demo character's quality",
    "opening",
    "int8 at full size",
    "calibration",
    "TensorRT-RTX at full size",
    "TensorRT-RTX, tiny",
    "tracing",
    "imports",
    "profiles",
    "the reference cache",
    "work",
    "windows that only go forwards",
    "windows with an utterance heard as its clip",
    "four steps, the clips that were missing",
    "what live sessions cost",
    "an hour of talk",
    "twelve hours of a clock",
    "what a browser shows",
    "twelve hours served",
)


@pytest.fixture(scope="module")
def drawing() -> Iterator[ModuleType]:
    """The script that draws the pages, which lies among the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("draw_measurements")


@pytest.fixture
def pages(drawing: ModuleType) -> dict[Path, str]:
    """The text of every page."""
    paths = {part.path for part in drawing.PARTS.values()}
    return {path: path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_page_is_what_its_results_files_say(
    drawing: ModuleType, pages: dict[Path, str], name: str
) -> None:
    page = pages[drawing.PARTS[name].path]
    assert drawing.find_part(page, name) == drawing.draw_part(name)


def test_the_pages_have_every_part_once_and_no_other(
    drawing: ModuleType, pages: dict[Path, str]
) -> None:
    assert tuple(drawing.PARTS) == PARTS
    for path, page in pages.items():
        own = [part for part in drawing.PARTS.values() if part.path == path]
        assert page.count("drawn by tests/benchmarks/draw_measurements.py -->") == len(own) > 0
        assert page.count(drawing.END) == len(own)


def test_every_results_file_is_drawn(drawing: ModuleType) -> None:
    drawn = {source for part in drawing.PARTS.values() for source in part.sources}
    assert drawn == {path.stem for path in (BENCHMARKS / "results").glob("*.json")}


def test_every_part_says_how_when_and_where_its_figures_were_taken(drawing: ModuleType) -> None:
    for name, part in drawing.PARTS.items():
        head = drawing.draw_part(name).split("|")[0]
        for source in part.sources:
            conditions = drawing.read_results(source)["conditions"]
            assert f"`{source}.json`: *{part.word or conditions['origin']}* on" in head
            assert conditions["machine"]["processor"] in head
            assert conditions["date"][:10] in head
            assert f"numpy {conditions['libraries']['numpy']}" in head


def test_every_contestant_of_every_file_has_a_line_with_its_machine(drawing: ModuleType) -> None:
    table = drawing.draw_part("speed against PyTorch")
    assert table.count("| pytorch fp32 |") == len(drawing.SPEED_SOURCES)
    assert table.count("EPYC") >= 1
    assert table.count("| openvino int8 |") == 1


def test_the_gpus_table_tells_speed_against_the_quickest_pytorch(drawing: ModuleType) -> None:
    lines = drawing.draw_part("speed on a GPU").splitlines()
    fastest = [line for line in lines if line.startswith("| pytorch") and "| 1.00 × |" in line]
    assert len(fastest) == 1
    assert sum(line.startswith("| ort_cuda |") for line in lines) == 1


def test_the_cpus_table_tells_speed_against_the_quickest_pytorch_and_what_was_not_measured(
    drawing: ModuleType,
) -> None:
    def measured(against: float) -> dict[str, float]:
        return {"p50": 0.1, "against_baseline": against, "calls_at_once": 1, "rounds": 3}

    contestants = {"pytorch a": measured(0.5), "pytorch b": measured(0.8), "ours": measured(1.2)}
    size = {"pixels": 128, "frames": 4, "cores": 2, "contestants": contestants}
    size["not_measured"] = {"pytorch c": "no compiler"}
    lines = drawing.tables.draw_cpu({"sizes": {"half": size}}).splitlines()
    assert lines[-4:] == [
        "| pytorch a | 1 | 100.0 | 0.62 × |",
        "| pytorch b | 1 | 100.0 | 1.00 × |",
        "| ours | 1 | 100.0 | 1.50 × |",
        "| pytorch c: no compiler |  |  |  |",
    ]


def test_a_part_that_is_out_of_date_is_replaced_whole(drawing: ModuleType) -> None:
    mark = drawing.begin_mark("opening")
    old = f"before\n\n{mark}\n\n| old |\n\n| row |\n\n{drawing.END}\n\nafter\n"
    new = f"before\n\n{mark}\n\n| new |\n\n{drawing.END}\n\nafter\n"
    assert drawing.replace_part(old, "opening", drawn="| new |") == new


def test_a_page_without_the_marks_is_told_of(drawing: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"measurements\.md: the marks of 'opening'"):
        drawing.find_part("no table here", "opening")


def test_a_table_has_a_line_for_each_row_under_its_head(drawing: ModuleType) -> None:
    drawn = drawing.tables.draw_table(("a", "b"), [["1", "2"], ["3", "4"]])
    assert drawn == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
