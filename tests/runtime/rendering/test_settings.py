"""Settings are filled in from the bundle, or refused before any network runs."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime import Rendering, RenderInputs, RenderSettings, Session, open_bundle
from echoexport.runtime.errors import SettingError
from echoexport.runtime.rendering.settings import settle_hold
from echoexport.runtime.sampling.sampler import SamplingHooks, SamplingStep

SIDE = 32
WINDOW = 4


@pytest.mark.parametrize(
    ("fps", "cover", "original"), [(24, 24, 26), (25, 25, 27), (Fraction(30000, 1001), 30, 32)]
)
def test_frames_cover_the_voice_or_are_as_many_as_in_the_original(
    null_bundle: Path,
    fps: Any,
    cover: int,
    original: int,
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    with open_bundle(null_bundle) as bundle:
        assert render(bundle, inputs_for(1.0), fps=fps).frames == cover
        assert render(bundle, inputs_for(1.0), fps=fps, frame_count="original").frames == original


@pytest.mark.parametrize(
    ("asked", "given"), [(1, 1), (3, 3), (4, 4), (5, 5), (12, 12), (13, 12), (10_000, 12)]
)
def test_a_limit_of_frames_shortens_a_clip_and_never_lengthens_it(
    null_bundle: Path,
    asked: int,
    given: int,
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    with open_bundle(null_bundle) as bundle:
        assert len(list(render(bundle, inputs_for(0.5), frames=asked))) == given


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": -1.0}, r"guidance -1\.0"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"guidance": True}, "guidance True"),
        ({"guidance": "2"}, "guidance '2'"),
        ({"overlap": WINDOW}, "overlap 4: 0 to 3 frames"),
        ({"overlap": -1}, "overlap -1"),
        ({"overlap": 1.5}, r"overlap 1\.5"),
        ({"frames": 0}, "frames 0: a whole number from 1 on"),
        ({"frames": 2.5}, r"frames 2\.5: a whole number"),
        ({"frame_count": "all"}, "frame count 'all'; known: cover, original"),
        ({"fps": 0}, "fps 0"),
        ({"fps": 1e9}, r"fps 1000000000\.0"),
        ({"steps": 0}, "0 sampling steps do not work"),
        ({"steps": 61}, "61 sampling steps do not work"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    null_bundle: Path,
    settings: dict[str, Any],
    message: str,
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    with open_bundle(null_bundle) as bundle, pytest.raises(SettingError, match=message):
        render(bundle, inputs_for(), **settings)


@pytest.mark.parametrize(
    "settings", [{"steps": 61}, {"overlap": WINDOW}, {"guidance": -1.0}, {"fps": 0}]
)
def test_settings_are_refused_before_any_network_runs(
    null_bundle: Path,
    settings: dict[str, Any],
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    with open_bundle(null_bundle) as bundle:
        session = Session(bundle)
        with pytest.raises(SettingError):
            render(session, inputs_for(), **settings)
        assert not any(session.networks.calls().values())


def test_the_bundles_own_steps_and_guidance_are_the_defaults(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    steps: list[SamplingStep] = []
    with open_bundle(null_bundle) as bundle:
        session = Session(bundle)
        session.render(inputs_for(), hooks=SamplingHooks(on_step=steps.append))
        assert len(steps) == bundle.manifest.sampler.steps == 2
        assert session.networks.calls()["denoising_unet"] == sum(
            len(step.windows) for step in steps
        )


@pytest.mark.parametrize("hold", [-1, 256, 1.5, True])
def test_a_hold_that_makes_no_sense_is_refused(null_bundle: Path, hold: Any) -> None:
    with open_bundle(null_bundle) as bundle, pytest.raises(SettingError, match="0 to 255 levels"):
        settle_hold(bundle, RenderSettings(hold=hold))
