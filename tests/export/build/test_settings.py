"""What a build is asked for: defaults filled in, what cannot be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from echoexport.export.build.settings import BuildSettings, settle, settle_precision
from echoexport.runtime.errors import SettingError, UnknownNameError
from echoexport.targets.spec import load_target


def test_an_unknown_check_is_refused_before_anything_is_built() -> None:
    with pytest.raises(SettingError, match="check 'some'; known: auto, all, none"):
        settle(BuildSettings(check="some"), target=load_target("cpu"))


def test_a_targets_defaults_fill_what_was_not_asked_for() -> None:
    settled = settle(BuildSettings(), target=load_target("jetson-orin"))
    assert (settled.precision, settled.size, settled.frames, settled.steps) == (
        "fp16",
        (256, 256),
        12,
        4,
    )


def test_what_was_asked_for_stays() -> None:
    asked = BuildSettings("pose", (64, 128), 5, "fp32", 9)
    assert settle(asked, target=load_target("jetson-orin")) == asked


def test_a_zero_is_no_default() -> None:
    settled = settle(BuildSettings(frames=0, steps=0), target=load_target("cpu"))
    assert (settled.frames, settled.steps) == (0, 0)


def test_an_unknown_precision_or_variant_is_refused() -> None:
    with pytest.raises(SettingError, match="precision 'int3'; known: fp32, fp16"):
        settle(BuildSettings(precision="int3"), target=load_target("cpu"))
    with pytest.raises(UnknownNameError, match="Did you mean 'pose'"):
        settle(BuildSettings("posee"), target=load_target("cpu"))


@pytest.mark.parametrize("name", ["calibration", "plan"])
def test_a_set_or_a_plan_has_no_place_in_an_fp32_build(name: str, tmp_path: Path) -> None:
    settings = replace(BuildSettings(precision="fp32"), **{name: tmp_path})
    wanted = f"--{name} belongs to --precision fp16, int8 or auto, not to fp32"
    with pytest.raises(SettingError, match=wanted):
        settle(settings, target=load_target("cpu"))
    settle(replace(settings, precision="fp16"), target=load_target("cpu"))


@pytest.mark.parametrize("quality", [0.0, -3.0, 100.5, float("nan")])
def test_a_quality_that_cannot_be_is_refused_and_its_bounds_are_told(quality: float) -> None:
    with pytest.raises(SettingError, match="above 0 and at most 100 is wanted"):
        settle(BuildSettings(quality=quality), target=load_target("cpu"))


def test_the_precision_asked_for_wins_over_the_targets() -> None:
    board = load_target("jetson-orin")
    assert settle_precision(BuildSettings(), target=board) == "fp16"
    assert settle_precision(BuildSettings(precision="auto"), target=board) == "auto"
