"""``echoexport build --precision int8``: what is refused, before anything is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")


@pytest.fixture
def refused(command: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """A function that builds the character with options, and gives the line that refuses it."""

    def run(*options: object) -> str:
        outcome = command(
            "build", "-t", "cpu", *options, "-o", tmp_path / "bundle", "--no-trace-cache"
        )
        assert outcome.code == 1, outcome
        assert not (tmp_path / "bundle").exists()
        assert not list(tmp_path.glob(".*"))
        return str(outcome.told[-1])

    return run


def test_an_unknown_precision_lists_those_that_are_known(refused: Callable[..., str]) -> None:
    assert "precision 'int4'; known: fp32, fp16, int8, auto" in refused("--precision", "int4")


@pytest.mark.parametrize("option", ["--calibration", "--plan"])
def test_a_set_or_plan_without_int8_is_refused(
    refused: Callable[..., str], tmp_path: Path, option: str
) -> None:
    assert f"{option} belongs to --precision fp16, int8 or auto, not to fp32" in refused(
        option, tmp_path / "x"
    )


@pytest.mark.parametrize("quality", ["0", "-3", "101", "nan"])
def test_a_quality_that_cannot_be_is_refused(refused: Callable[..., str], quality: str) -> None:
    told = refused("--precision", "int8", "--quality", quality)
    assert "dB: above 0 and at most 100 is wanted" in told


def test_a_set_that_is_not_there_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refused(
        "--precision", "int8", "--calibration", tmp_path / "nowhere"
    )


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("{", "not readable JSON"),
        ("{}", "missing key"),
        (
            {"schema": 9, "method": "", "calibration": "", "networks": {}},
            "schema 9; this release reads 1",
        ),
        (
            {
                "schema": 1,
                "method": "",
                "calibration": "",
                "networks": {
                    "denoising_unet": {"precision": "int8", "layers": {"conv_in": {"mode": "int4"}}}
                },
            },
            "denoising_unet, layer conv_in: mode 'int4'; known: int8, weights, float",
        ),
        (
            {
                "schema": 1,
                "method": "",
                "calibration": "",
                "networks": {
                    "denoising_unet": {"precision": "int8", "layers": {"conv_in": {"mode": "int8"}}}
                },
            },
            "denoising_unet, layer conv_in: mode 'int8' needs an amax above 0, found None",
        ),
    ],
)
def test_a_plan_that_was_spoilt_says_where(
    refused: Callable[..., str], tmp_path: Path, content: Any, wanted: str
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(content if isinstance(content, str) else json.dumps(content))
    told = refused("--precision", "int8", "--plan", plan)
    assert str(plan) in told
    assert wanted in told
