"""``echoexport targets``: what there is, each figure with its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from echoexport.targets.spec import list_targets, load_target


def test_every_target_has_its_line(command: Callable[..., Any]) -> None:
    lines = command("targets").out.splitlines()
    assert [line.split()[0] for line in lines] == list(list_targets())


def test_a_targets_figures_come_with_their_sources(command: Callable[..., Any]) -> None:
    outcome = command("targets", "jetson-orin")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "jetson-orin: NVIDIA Jetson AGX Orin 64 GB (jetson)"
    assert "fp16, 256x256 px, windows of 12 frames" in lines[1]
    assert any(
        line.strip().startswith("memory bandwidth") and "204.8 GB/s  [NVIDIA" in line
        for line in lines
    )
    assert lines[-1].split(maxsplit=1)[1] == load_target("jetson-orin").next_step


@pytest.mark.parametrize("name", list_targets())
def test_each_target_can_be_shown(command: Callable[..., Any], name: str) -> None:
    outcome = command("targets", name)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{name}: ")


def test_an_unknown_target_is_answered_with_the_nearest(refusal: Callable[..., str]) -> None:
    assert "Did you mean 'jetson-orin'?" in refusal("targets", "jetson-oring")
