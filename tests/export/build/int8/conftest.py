"""Quality reports of stand-in networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.quality.report import (
    BundleSide,
    Headline,
    NetworkQuality,
    NetworkSide,
    QualityBudget,
    QualityReport,
    RunSettings,
)
from echoexport.profiles.quality.signals import Closeness
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

DENOISER = "denoising_unet"
FURTHEST = dict.fromkeys(FAMILY.required, 40.0) | {
    "audio_encoder": 20.0,
    "vae_decoder": 25.0,
    DENOISER: 30.0,
}
"""dB of each network's outputs."""


@pytest.fixture
def make_report() -> Callable[..., QualityReport]:
    """A function of what each network is stored and computed in, e.g. ``int8+bf16``."""

    def make(stored: Mapping[str, str], *, misses: tuple[str, ...] = ()) -> QualityReport:
        side = BundleSide(
            "fp32", "plain", "acc", "cpu", "fp32", "ort", "fp32", 0, 100, 200, "ab" * 32
        )
        one = NetworkSide("fp32", "fp32", 100, 0.2, 0.2)
        networks = tuple(
            NetworkQuality(
                name,
                one,
                one,
                1,
                1,
                Closeness(FURTHEST[name] + 5 * stored[name].endswith("+fp32"), 1.0, 0.1, 0.1),
                "x",
                20.0,
                0.3,
                1.0,
            )
            for name in FAMILY.required
        )
        return QualityReport(
            1,
            "measured",
            side,
            side,
            RunSettings(2, 24.0, 1.0, 1, 0, 0, 1),
            QualityBudget(psnr=35.0),
            misses,
            Headline(30.0, 30.0, 31.0, 29.0, 0.98, 0.97, 0.3, 0.3, 1.0, ()),
            (),
            networks,
            (),
            (),
            describe_circumstances(),
        )

    return make
