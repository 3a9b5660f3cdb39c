"""Settings that cannot work: one line that names the setting and what would work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from echoexport.runtime.backends import list_backends

BOX = ("--face-box", "20,20,76,76")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--guidance", "nan"), "guidance nan: a number from 0 to 100 is wanted"),
        (("--guidance", "-1"), "guidance -1.0: a number from 0 to 100 is wanted"),
        (("--guidance", "inf"), "guidance inf: a number from 0 to 100 is wanted"),
        (("--guidance", "much"), "--guidance"),
        (("--steps", "0"), "0 sampling steps"),
        (("--steps", "-1"), "-1 sampling steps"),
        (("--steps", "1001"), "1001 sampling steps"),
        (("--overlap", "4"), "overlap 4: 0 to 3 frames"),
        (("--overlap", "-1"), "overlap -1: 0 to 3 frames"),
        (("--frames", "0"), "'--frames': 0 is not in the range x>=1"),
        (("--frames", "-5"), "'--frames': -5"),
        (("--fps", "0"), "--fps 0: above 0 and up to 1000"),
        (("--fps", "-24"), "--fps -24: above 0"),
        (("--fps", "nan"), "--fps nan: a number is wanted"),
        (("--fps", "5000"), "--fps 5000: above 0 and up to 1000"),
        (("--seed", "-1"), "'--seed': -1"),
        (("--seed", str(2**64)), "'--seed'"),
        (("--threads", "-1"), "'--threads': -1"),
        (("--frame-count", "all"), "frame count 'all'; known: cover, original"),
        (
            ("--backend", "opnvino"),
            f"unknown backend 'opnvino'; known: {', '.join(list_backends())}. Did you mean",
        ),
        (("--poses", "poses"), "variant 'acc' takes no poses; leave --poses out"),
    ],
)
def test_a_setting_that_cannot_work(
    refused: Callable[..., str], options: tuple[str, ...], wanted: str
) -> None:
    assert wanted in refused(*BOX, *options)


def test_guidance_with_a_distilled_variant_works_and_is_warned_of(
    accepted: Callable[..., Any],
) -> None:
    assert accepted("--guidance", 3, *BOX).told == [
        "echoexport: warning: guidance 3: variant 'acc' is distilled for 1; each step costs "
        "two calls"
    ]


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_an_arithmetic_that_nobody_knows(refused: Callable[..., str], backend: str) -> None:
    pytest.importorskip({"ort": "onnxruntime"}.get(backend, backend))
    assert "fp7" in refused(*BOX, "--backend", backend, "--compute", "fp7")
