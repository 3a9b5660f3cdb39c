"""Children that answer line by line: what is an answer, and how an end is put into words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.engines.nvidia.tensorrt_child import LONGEST_REASON, BuildJob
from echoexport.export.engines.nvidia.tensorrt_process import Outcome, _read_answer, run_child
from echoexport.runtime.contract.schema import dump, parse


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", errors="replace")))
def test_a_line_of_chatter_is_no_answer(line: str) -> None:
    answer = _read_answer(line)
    assert answer is None or isinstance(answer["event"], str)


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    st.text(max_size=5),
)
def test_an_answer_comes_back_as_it_was_sent(values: dict[str, Any], event: str) -> None:
    sent = {**values, "event": event}
    assert _read_answer(json.dumps(sent) + "\n") == sent


@given(
    st.builds(
        BuildJob,
        backend=st.sampled_from(["tensorrt", "tensorrt_rtx"]),
        library=st.text(max_size=9),
        graph=st.text(max_size=9),
        output=st.none() | st.text(max_size=9),
        workspace=st.none() | st.integers(0, 2**52),
        level=st.none() | st.integers(0, 5),
        timing_cache=st.none() | st.text(max_size=9),
        fresh=st.booleans(),
    )
)
def test_a_job_survives_the_way_to_the_child(job: BuildJob) -> None:
    assert parse(BuildJob, json.loads(json.dumps(dump(job))), where="job") == job


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "ended with exit code 0: last"),
        (3, "ended with exit code 3: last"),
        (-11, "died of SIGSEGV: last"),
        (-6, "died of SIGABRT: last"),
        (-250, "died of signal 250: last"),
    ],
)
def test_an_end_is_put_into_words(code: int, said: str) -> None:
    assert Outcome({}, code, "last", timed_out=False).describe_end() == said


def test_a_silent_end_has_no_last_words() -> None:
    assert Outcome({}, -9, "", timed_out=False).describe_end() == "died of SIGKILL"


def run(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[Outcome, list[str]]:
    (tmp_path / "a_child.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told: list[str] = []
    job = BuildJob("tensorrt", "", "graph")
    return run_child(
        "a_child", job, timeout=settings.get("timeout", 60.0), report=told.append
    ), told


def test_more_output_than_a_pipe_holds_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys\n"
        "sys.stdin.read()\n"
        "sys.stderr.write('noise\\n' * 200_000 + 'the end\\n')\n"
        "for number in range(5000):\n"
        '    print(\'{"event": "progress", "text": "%d"}\' % number)\n'
    )
    outcome, told = run(tmp_path, script, monkeypatch)
    assert outcome.code == 0
    assert told == [str(number) for number in range(5000)]
    assert outcome.last_words == "noise; noise; the end"


def test_bytes_that_are_no_text_hide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys\n"
        'sys.stdout.buffer.write(b\'\\xff\\xfe\\n{"event": "built"}\\n\')\n'
        "sys.stderr.buffer.write(b'\\xff told\\n')\n"
    )
    outcome, _ = run(tmp_path, script, monkeypatch)
    assert outcome.find("built") == {"event": "built"}
    assert outcome.last_words.endswith("told")


def test_a_child_that_reads_nothing_is_no_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, _ = run(tmp_path, "import os\nos._exit(5)\n", monkeypatch)
    assert (outcome.code, outcome.answers) == (5, {})


def test_a_refusal_fits_what_a_pipe_takes_in_one_piece() -> None:
    """Four bytes a character at most, beside the rest of the line.

    POSIX's PIPE_BUF is 512 at least, Linux's 4096.
    """
    assert sys.platform != "linux" or 4 * LONGEST_REASON + 100 < 4096
