"""What a processor's engines depend on, and how many cores there are to use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from echoexport.runtime.engine.processor import count_cores, describe_processor


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("processor: 0\nflags\t\t: fpu avx2 avx512f sse4_2 fma\n", "sse4_2 fma avx2 avx512f"),
        ("Features\t: fp asimd asimdhp bf16\nFeatures\t: fp\n", "asimd asimdhp bf16"),
        ("", "unknown"),
        ("flags\t: none of them\n", "unknown"),
    ],
)
def test_instructions_are_read_off_the_processors_own_list(text: str, instructions: str) -> None:
    assert describe_processor(text)["instructions"] == instructions


def test_two_threads_of_a_core_count_once_and_only_usable_ones_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, siblings in {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5", 7: "3,7"}.items():
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 4, 5}, raising=False)
    assert count_cores(tmp_path) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 3}, raising=False)
    assert count_cores(tmp_path) == 3  # nothing is told of two of them


def test_as_many_cores_are_counted_as_there_are_to_use() -> None:
    assert 1 <= count_cores() <= (os.cpu_count() or 1)
