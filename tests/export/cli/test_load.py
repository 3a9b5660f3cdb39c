"""``echoexport load``: a crowd against a real server, its report, one line for what is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.served import TOKEN, Served

from echoexport.profiles.reports.load_report import read_load


def test_a_crowd_is_measured_and_its_report_compared(
    command: Callable[..., Any], serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(sessions=2, tokens=(TOKEN,))
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    for name in ("before", "after"):
        outcome = command(
            "load",
            served.url + "/",
            *("--streams", "auto", "--duration", 4, "--token-file", tmp_path / "tokens"),
            *("--report", tmp_path / f"{name}.json"),
        )
        assert outcome.code == 0, outcome
        assert "session 3 was refused: 2 sessions are open" in outcome.out
    report = read_load(tmp_path / "before.json")
    assert (report.streams, report.refused_at) == (2, 3)
    assert report.utterances >= 2
    assert TOKEN not in (tmp_path / "before.json").read_text()
    paths = (tmp_path / "before.json", tmp_path / "after.json")
    compared = command("compare", *paths, "--json", tmp_path / "c.json")
    assert compared.code == 0, compared
    assert "| first_frame.p95 |" in compared.out
    assert json.loads((tmp_path / "c.json").read_text())["labels"] == ["before", "after"]
    broken = command("compare", *paths, "--fail-if", "first_frame.p50>1ms")
    assert broken.code == 1
    assert "first_frame.p50>1ms" in broken.err
    alone = command("compare", paths[0], "--fail-if", "first_frame.p50>+10%")
    assert alone.code == 1
    assert "needs a second report" in alone.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ftp://somewhere",), "no address of a server"),
        (("http://127.0.0.1:99999",), "no address of a server"),
        (("http://127.0.0.1:8080/?token=secret-of-somebody",), "tokens go into --token-file"),
        (("http://127.0.0.1:9",), "does echoexport serve run there?"),
        (("http://127.0.0.1:9", "--streams", "0"), "from 1 to 256"),
        (("http://127.0.0.1:9", "--voice", "missing.wav"), "missing.wav"),
        (("https://127.0.0.1:9", "--tls-ca", "missing.pem"), "missing.pem"),
        (("http://127.0.0.1:9", "--report", "/nowhere/r.json"), "/nowhere"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    command: Callable[..., Any], arguments: tuple[str, ...], words: str
) -> None:
    outcome = command("load", *arguments)
    assert outcome.code == 1
    assert words in outcome.err
    assert "secret" not in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_an_interrupt_ends_it_and_its_sessions(
    start_command: Callable[..., Any], served: Served
) -> None:
    running = start_command(
        "load",
        served.url,
        *("--streams", "2", "--duration", "600"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + 60
        while len(served.table) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        assert len(served.table) == 2
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert b"Traceback" not in said
    until = time.monotonic() + 5
    while len(served.table) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(served.table) == 0


def test_a_load_and_a_profile_are_not_compared(
    command: Callable[..., Any], served: Served, profiled: Path, tmp_path: Path
) -> None:
    outcome = command("load", served.url, "--duration", 1, "--report", tmp_path / "load.json")
    assert outcome.code == 0, outcome
    refused = command("compare", tmp_path / "load.json", profiled / "report.json")
    assert refused.code == 1
    assert "no report of echoexport load" in refused.err
