"""What each network will be, and the way back: faster arithmetic goes first, then int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.export.build.int8 import choice
from echoexport.export.build.int8.candidates import Candidate
from echoexport.export.build.int8.choice import (
    FLOAT,
    INT8,
    Choice,
    find_disagreements,
    find_worst,
    measure_disagreement,
    step_back,
    take_chosen,
)
from echoexport.export.build.settings import BuildSettings
from echoexport.profiles.quality.report import QualityReport
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import QualityError

Report = Callable[..., QualityReport]

SMALL = BuildSettings(precision="int8", quality=35.0)
AUTO = BuildSettings(precision="auto", quality=35.0)


def test_int8_is_taken_back_to_the_networks_own_float_where_it_was_asked_for() -> None:
    assert step_back(INT8, settings=SMALL) is None


def test_auto_goes_back_by_arithmetic_then_by_precision() -> None:
    first = step_back(Choice("int8", "bf16"), settings=AUTO)
    assert first == INT8
    assert step_back(first, settings=AUTO) == FLOAT
    assert step_back(Choice("fp32", "bf16"), settings=AUTO) == FLOAT


def test_the_network_furthest_from_fp32_is_the_worst(make_report: Report) -> None:
    stored = dict.fromkeys(FAMILY.required, "int8+fp32")
    choices = dict.fromkeys(FAMILY.required, INT8)
    assert find_worst(choices, make_report(stored), settings=SMALL).name == "audio_encoder"


def test_a_network_that_is_float_already_cannot_be_the_worst(make_report: Report) -> None:
    stored = dict.fromkeys(FAMILY.required, "int8+fp32")
    choices = dict.fromkeys(FAMILY.required, INT8) | {"audio_encoder": FLOAT}
    assert find_worst(choices, make_report(stored), settings=AUTO).name == "vae_decoder"
    del choices["vae_decoder"]
    assert find_worst(choices, make_report(stored), settings=AUTO).name == "denoising_unet"


@pytest.mark.parametrize(
    ("choices", "settings"), [({}, SMALL), ({"denoising_unet": INT8}, SMALL), ({}, AUTO)]
)
def test_where_nothing_may_go_back_the_quality_is_refused_with_the_best_found(
    make_report: Report, choices: dict[str, Choice], settings: BuildSettings
) -> None:
    report = make_report(
        dict.fromkeys(FAMILY.required, "int8+fp32"), misses=("31.00 dB, 35 dB are wanted",)
    )
    wanted = (
        r"quality 35 dB cannot be kept in int8: 31\.00 dB, 35 dB are wanted; best found 31\.0 dB; "
        r"ask for less \(--quality\) or for fp16"
    )
    with pytest.raises(QualityError, match=wanted):
        find_worst(choices, report, settings=settings)


def test_chosen_candidates_become_choices_measured_or_not() -> None:
    candidates = [
        Candidate("vae_encoder", "fp32", "fp32", 2.0, "dropped: 2.00 x the time of int8+bf16"),
        Candidate("vae_encoder", "int8", "bf16", 1.0, "chosen"),
        Candidate("vae_decoder", "fp32", "fp32", None, "chosen without a measurement"),
        Candidate("vae_decoder", "int8", "fp32", None, "not measured; fp32 was taken"),
    ]
    assert take_chosen(candidates) == {"vae_encoder": Choice("int8", "bf16"), "vae_decoder": FLOAT}


@pytest.mark.parametrize(
    ("distance", "reason"),
    [
        (0.05, None),
        (0.0501, "ONNX Runtime and OpenVINO differ by 0.050 (relative L2) on it"),
        (float("nan"), "ONNX Runtime and OpenVINO differ by nan (relative L2) on it"),
    ],
)
def test_engines_may_differ_by_a_twentieth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, distance: float, reason: str | None
) -> None:
    monkeypatch.setattr(choice, "measure_disagreement", lambda *given: {"vae_decoder": distance})
    found = find_disagreements(tmp_path, ["vae_decoder"])
    assert found == ({} if reason is None else {"vae_decoder": reason})


def test_without_one_of_the_engines_nothing_can_disagree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Absent:
        """A backend that is not installed."""

        def unavailable(self) -> str:
            """Why."""
            return "not installed"

    monkeypatch.setattr(choice, "load_backend", lambda name: Absent())
    assert measure_disagreement(tmp_path / "nowhere", ["vae_decoder"]) == {}


@pytest.mark.parametrize(
    ("found", "wanted", "distance"),
    [([3.0, 4.0], [3.0, 4.0], 0.0), ([3.0, 5.0], [3.0, 4.0], 0.2), ([0.5], [0.0], 0.5)],
)
def test_a_distance_is_relative_to_what_was_wanted_unless_that_is_nothing(
    found: list[float], wanted: list[float], distance: float
) -> None:
    assert choice._distance(np.array(found), np.array(wanted)) == pytest.approx(distance)
