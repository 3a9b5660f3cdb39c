"""One network's candidates, and which one is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.manifests import edit_manifest

from echoexport.export.build.int8.candidates import Candidate, choose_fastest, measure_candidates
from echoexport.runtime.errors import BackendError


def candidates() -> list[Candidate]:
    return [
        Candidate("vae_decoder", "fp32", "fp32", 0.030),
        Candidate("vae_decoder", "fp32", "bf16", 0.012),
        Candidate("vae_decoder", "int8", "fp32", 0.020),
    ]


def test_the_fastest_is_chosen_and_the_others_say_by_how_much_they_lost() -> None:
    verdicts = {one.label: one.verdict for one in choose_fastest(candidates())}
    assert verdicts == {
        "fp32": "dropped: 2.50 x the time of fp32+bf16",
        "fp32+bf16": "chosen",
        "int8": "dropped: 1.67 x the time of fp32+bf16",
    }


def test_what_is_not_allowed_is_not_chosen_however_fast() -> None:
    found = choose_fastest(candidates(), allowed=lambda one: one.compute == "fp32")
    assert [one.verdict for one in found][1:] == ["dropped: misses the quality budget", "chosen"]


def test_without_a_measurement_the_first_is_taken_and_says_so() -> None:
    found = choose_fastest(
        [Candidate("vae_decoder", name, "fp32", None) for name in ("fp32", "int8")]
    )
    assert [one.verdict for one in found] == [
        "chosen without a measurement",
        "not measured; fp32 was taken",
    ]


def test_candidates_that_do_not_run_are_never_taken() -> None:
    refused = Candidate("vae_decoder", "fp32", "bf16", None, "does not run here: no bf16")
    with pytest.raises(
        BackendError, match=r"no way to run it is left: fp32\+bf16: does not run here: no bf16"
    ):
        choose_fastest([refused])


def test_every_precision_and_arithmetic_is_measured_or_says_why_not(
    make_null_bundle: Callable[..., Path],
) -> None:
    plain = make_null_bundle("plain")
    small = make_null_bundle("other")
    edit_manifest(small, lambda data: data["networks"]["vae_decoder"].update(precision="int8"))
    found = measure_candidates(
        {"fp32": plain, "int8": small},
        "vae_decoder",
        backend="null",
        computes=("fp32", "bf16"),
        rounds=3,
    )
    by_label = {one.label: one for one in found}
    assert list(by_label) == ["fp32", "fp32+bf16", "int8", "int8+bf16"]
    for one in found:
        assert (one.seconds is None) == one.verdict.startswith("does not run here")
    assert (by_label["fp32"].seconds or 0) > 0
    # a network that is the same in both is a candidate once
    again = measure_candidates(
        {"fp32": plain, "int8": small}, "vae_encoder", backend="null", rounds=3
    )
    assert [one.label for one in again] == ["fp32"]
