"""The child that builds: its answers, its exit codes, and what it reads and writes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.engines.nvidia import tensorrt_child
from echoexport.export.engines.nvidia.tensorrt_child import (
    LONGEST_REASON,
    Answers,
    BuildJob,
    main,
)
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.errors import BackendError, GraphError
from echoexport.runtime.files.sealed_file import write_sealed


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The child's answers; nothing is written, and the standard output stays."""
    answers: list[dict[str, Any]] = []

    class Kept(Answers):
        def __init__(self) -> None:
            """Leave the standard output alone."""

        def send(self, event: str, **values: Any) -> None:
            answers.append({"event": event, **values})

    monkeypatch.setattr(tensorrt_child, "Answers", Kept)
    monkeypatch.setattr(tensorrt_child, "stand_back", lambda: None)
    return answers


def give(monkeypatch: pytest.MonkeyPatch, job: BuildJob) -> None:
    """Put a job on the standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(dump(job))))


JOB = BuildJob("tensorrt", "tensorrt", "net.onnx")


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (GraphError("a Resize is not supported"), "graph", "a Resize is not supported"),
        (BackendError("tensorrt is not installed"), "library", "tensorrt is not installed"),
        (MemoryError("std::bad_alloc"), "memory", "std::bad_alloc"),
        (OSError(28, "No space left on device"), "output", "No space left on device"),
    ],
)
def test_each_fault_is_refused_by_its_kind_with_exit_code_1(
    sent: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: str,
    reason: str,
) -> None:
    def fail(*given: Any) -> int:
        raise error

    give(monkeypatch, JOB)
    monkeypatch.setattr(tensorrt_child, "load_builder_library", lambda product: None)
    monkeypatch.setattr(tensorrt_child, "_build", fail)
    assert main() == 1
    assert sent == [{"event": "refused", "kind": kind, "reason": reason}]


def test_the_library_is_the_one_that_the_job_names(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    give(monkeypatch, BuildJob("tensorrt_rtx", "/a/library.py", "net.onnx"))
    monkeypatch.setattr(tensorrt_child, "load_builder_library", asked.append)
    monkeypatch.setattr(tensorrt_child, "_build", lambda *given: 0)
    assert main() == 0
    assert (asked[0].backend, asked[0].library) == ("tensorrt_rtx", "/a/library.py")
    assert sent == []


def test_a_reason_is_one_line_and_no_longer_than_a_pipe_takes_at_once(
    sent: list[dict[str, Any]],
) -> None:
    answers = tensorrt_child.Answers()
    assert answers.refuse("graph", "one\n  two\t" + "x" * 2 * LONGEST_REASON) == 1
    (reason,) = (answer["reason"] for answer in sent)
    assert reason.startswith("one two xxx")
    assert len(reason) == LONGEST_REASON


def test_an_answer_is_one_line_of_json_on_the_standard_output_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    kept = os.dup(1)
    try:
        answers = Answers()
        os.write(1, b"chatter of the library\n")
        answers.send("progress", text="parsed")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    out, err = capfd.readouterr()
    assert json.loads(out) == {"event": "progress", "text": "parsed"}
    assert out.count("\n") == 1
    assert err == "chatter of the library\n"


def test_a_timing_cache_that_is_not_there_yet_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "timings"
    jobs = [BuildJob("tensorrt", "x", "g", timing_cache=place) for place in (None, str(path))]
    assert [tensorrt_child._read_timing(job) for job in jobs] == [None, b""]
    write_sealed(path, b"kept", key=tensorrt_child.TIMING_KEY)
    assert tensorrt_child._read_timing(jobs[1]) == b"kept"


def test_damaged_timings_are_none_that_a_library_takes(tmp_path: Path) -> None:
    path = tmp_path / "timings"
    write_sealed(path, b"kept", key=tensorrt_child.TIMING_KEY)
    path.write_bytes(path.read_bytes()[:-1] + b"T")
    job = BuildJob("tensorrt", "x", "g", timing_cache=str(path))
    assert tensorrt_child._read_timing(job) == b"\x00"
