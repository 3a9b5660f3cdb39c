"""``echoexport targets`` and ``echoexport doctor``: what there is, and what works here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from echoexport.runtime.backends import list_backends
from echoexport.targets.spec import list_targets, load_target


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes packages look as if they were not installed."""
    find = importlib.util.find_spec

    def hide(*names: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in names else find(name, *a))

    return hide


def test_every_target_has_its_line(command: Callable[..., Any]) -> None:
    lines = command("targets").out.splitlines()
    assert [line.split()[0] for line in lines] == list(list_targets())


def test_a_targets_figures_come_with_their_sources(command: Callable[..., Any]) -> None:
    outcome = command("targets", "jetson-orin")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "jetson-orin: NVIDIA Jetson AGX Orin 64 GB (jetson)"
    assert "fp16, 256x256 px, windows of 12 frames" in lines[1]
    assert any(line.strip().startswith("memory bandwidth") and "204.8 GB/s  [NVIDIA" in line for line in lines)
    assert lines[-1].split(maxsplit=1)[1] == load_target("jetson-orin").next_step


@pytest.mark.parametrize("name", list_targets())
def test_each_target_can_be_shown(command: Callable[..., Any], name: str) -> None:
    outcome = command("targets", name)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{name}: ")


def test_an_unknown_target_is_answered_with_the_nearest(refusal: Callable[..., str]) -> None:
    assert "Did you mean 'jetson-orin'?" in refusal("targets", "jetson-oring")


def test_the_doctor_has_a_line_for_each_backend_and_target(command: Callable[..., Any]) -> None:
    outcome = command("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    first = [line.split()[0] for line in outcome.out.splitlines()]
    assert set(list_backends()) <= set(first)
    assert set(list_targets()) <= set(first)


def test_the_doctor_says_what_the_export_lacks(command: Callable[..., Any], block: Callable[..., None]) -> None:
    block("torch", "onnx")
    out = command("doctor").out
    missing = "torch, onnx not installed: pip install 'echoexport[export]'"
    assert f"export         no  {missing}" in out
    targets = out.split("\ntargets\n")[1].splitlines()
    assert len(targets) == len(list_targets())
    assert all("does not build here (see export above)" in line for line in targets)


def test_the_doctor_says_what_face_detection_lacks(command: Callable[..., Any], block: Callable[..., None]) -> None:
    block("openvino", "ai_edge_litert")
    lines = command("doctor").out.splitlines()
    found = next(line for line in lines if line.strip().startswith("face detection"))
    assert " no " in found
    assert "pip install 'echoexport[openvino]'" in found


def test_the_doctor_says_that_no_video_can_be_written(command: Callable[..., Any], block: Callable[..., None]) -> None:
    block("av")
    lines = command("doctor").out.splitlines()
    found = next(line for line in lines if line.strip().startswith("video"))
    assert "av not installed: pip install av" in found


def test_the_doctor_says_why_a_target_does_not_run_here(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoexport.runtime.backends import load_backend

    monkeypatch.setattr(type(load_backend("ort")), "unavailable", lambda self: "no library")
    lines = command("doctor").out.splitlines()
    assert "  ort            no  no library" in lines
    assert any(line.split()[0] == "cpu" and "does not run here (no library)" in line for line in lines)
