"""Damaged inputs end in frames or in one line; what ends otherwise is noticed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from fuzz import campaign
from fuzz.campaign import MORE_BYTES, Child, judge_answer, judge_command, run_campaign, write_seeds
from fuzz.kinds import KINDS, make_input

SEED = 0
COUNT = 100
LINE = "echoexport: error: it is so\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_input_gives_frames_or_one_line(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torch")
    seeds = write_seeds(kind, tmp_path)
    if not any(seeds.iterdir()):
        pytest.skip(f"{kind}: nothing honest to damage here")
    tally = run_campaign(kind, seeds, seed=SEED, indices=iter(range(COUNT)))
    assert "\n".join(map(str, tally.failures)) == ""
    assert tally.read + tally.refused == COUNT
    assert tally.refused > 0 or kind == "cache-entries"  # they are dropped without a word


@pytest.mark.parametrize("kind", ["pictures", "pose-folders", "safetensors", "manifests"])
def test_a_mutation_is_the_same_every_time_and_no_two_are(kind: str) -> None:
    seeds = list(KINDS[kind].seeds())
    assert seeds == list(KINDS[kind].seeds())
    made = [make_input(KINDS[kind], seeds, seed=SEED, index=index) for index in range(50)]
    again = [make_input(KINDS[kind], seeds, seed=SEED, index=index) for index in range(50)]
    assert made == again
    assert len(set(made)) > 40


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"outcome": "a", "bytes": 0, "printed": "a warning"}, None),
        ({"refusal": "no", "bytes": 0, "printed": ""}, None),
        ({"refusal": "no", "bytes": 0, "printed": "noise"}, "more than one line: noise"),
        ({"traceback": "E", "bytes": 0, "printed": ""}, "E"),
        ({"died": -11}, "the process ended with -11"),
        ({"slow": True}, "more than 30 s"),
        (
            {"outcome": "a", "bytes": MORE_BYTES + 1, "printed": ""},
            "1024 MB of memory, honest ones take 0",
        ),
        ({"outcome": "b", "bytes": 0, "printed": ""}, "other frames"),
    ],
)
def test_what_is_neither_frames_nor_one_line_is_told(
    answer: dict[str, object], told: str | None
) -> None:
    assert judge_answer(answer, most=0, wanted=["a"]) == told


@pytest.mark.parametrize(
    ("code", "printed", "refused", "well"),
    [
        (0, "decoding 2/2\n", False, True),
        (0, "", True, False),
        (1, f"sampling 1/2\n{LINE}", True, True),
        (1, f"noise\n{LINE}", True, False),
        (1, "", True, False),
        (2, LINE, True, False),
    ],
)
def test_a_command_ends_in_a_clip_or_in_one_line(
    code: int, printed: str, refused: bool, well: bool
) -> None:
    answer = {"code": code, "printed": printed, "bytes": 0}
    assert (judge_command(answer, refused=refused) is None) == well


def test_a_child_that_dies_or_hangs_is_noticed_and_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "SECONDS", 0.5)
    monkeypatch.setattr(campaign, "_START_SECONDS", 0.5)
    with Child("pictures", tmp_path, seed=SEED) as child:
        abort = "import os, sys; sys.stdin.readline(); os.abort()"
        monkeypatch.setattr(child, "_line", [sys.executable, "-c", abort])
        assert child.ask(index=0) == {"died": -signal.SIGABRT}
        monkeypatch.setattr(child, "_line", [sys.executable, "-c", "import time; time.sleep(60)"])
        assert child.ask(index=0) == {"slow": True}
        echo = "import sys; print(sys.stdin.readline(), flush=True)"
        monkeypatch.setattr(campaign, "_START_SECONDS", 30)
        monkeypatch.setattr(child, "_line", [sys.executable, "-c", echo])
        assert child.ask(index=7) == {"index": 7}
