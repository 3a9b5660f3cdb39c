"""One call of the denoiser: what it is given, its unconditional half, and guidance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.sampling.ddim import sinusoid
from echoexport.runtime.sampling.denoiser import (
    BLANKED,
    Conditions,
    Denoiser,
    blank,
    guide,
    is_guided,
)

WINDOW = (6, 7, 0, 1)


class Recorder:
    """Stands in a bundle for the denoising network: keeps its inputs, gives its gate."""

    def __init__(self, bundle: Bundle) -> None:
        self.spec = bundle.network("denoising_unet").spec
        self.lanes = 3
        self.given: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.given.append(dict(inputs))
        shape = inputs["latents"].shape
        return {"velocity": np.full(shape, inputs["reference_gate"][0] + 0.5, np.float16)}


def conditions_of(bundle: Bundle) -> Conditions:
    """Audio tokens and face features that are their frame's number, references of sevens."""
    shapes = {t.name: t.shape for t in bundle.manifest.networks["denoising_unet"].inputs}

    def number(name: str, axis: int, frames: Iterable[int]) -> np.ndarray:
        numbers = np.array(list(frames), np.float32)
        array = np.zeros((*shapes[name][:axis], len(numbers), *shapes[name][axis + 1 :]))
        np.moveaxis(array, axis, -1)[...] = numbers
        return array

    return Conditions(
        audio=lambda frames: number("audio_tokens", 1, frames),
        face=lambda frames: number("face_feature", 2, frames),
        reference={"reference_key.mid": np.full((1, 4), 7, np.float32)},
    )


@pytest.fixture
def recorded(null_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Recorder]:
    """A bundle whose denoiser is a recorder."""
    bundle = open_bundle(null_bundle)
    recorder = Recorder(bundle)
    monkeypatch.setattr(bundle, "network", lambda name: {"denoising_unet": recorder}[name])
    return bundle, recorder


def latents() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((1, 4, 8, 4, 4)).astype(np.float32)


def gather(window: Iterable[int]) -> np.ndarray:
    return latents()[:, :, list(window)]


def test_a_window_gets_its_own_frames_in_its_own_order(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    Denoiser(bundle, conditions_of(bundle), guided=False).run(gather, window=WINDOW, timestep=9)
    (given,) = recorder.given
    np.testing.assert_array_equal(given["latents"], latents()[:, :, list(WINDOW)])
    np.testing.assert_array_equal(given["audio_tokens"][0, :, 0, 0], WINDOW)
    np.testing.assert_array_equal(given["face_feature"][0, 0, :, 0, 0], WINDOW)


def test_every_call_gets_the_timestep_and_the_reference(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    Denoiser(bundle, conditions_of(bundle), guided=True).run(gather, window=WINDOW, timestep=321)
    width = next(t for t in recorder.spec.inputs if t.name == "timestep_sinusoid").shape[1]
    for given in recorder.given:
        np.testing.assert_array_equal(given["timestep_sinusoid"], sinusoid([321], width))
        assert (given["reference_key.mid"] == 7).all()


def test_without_guidance_there_is_one_call_with_the_gate_open(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    denoiser = Denoiser(bundle, conditions_of(bundle), guided=False)
    (velocity,) = denoiser.run(gather, window=WINDOW, timestep=9)
    assert [given["reference_gate"].tolist() for given in recorder.given] == [[1.0]]
    assert (velocity == 1.5).all()


def test_with_guidance_the_second_call_hears_sees_and_remembers_nothing(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    denoiser = Denoiser(bundle, conditions_of(bundle), guided=True)
    conditional, unconditional = denoiser.run(gather, window=WINDOW, timestep=9)
    second = recorder.given[1]
    assert not second["audio_tokens"].any()
    assert not second["face_feature"].any()
    assert second["reference_gate"].tolist() == [0.0]
    np.testing.assert_array_equal(second["latents"], recorder.given[0]["latents"])
    assert ((conditional == 1.5).all(), (unconditional == 0.5).all()) == (True, True)


def test_velocities_are_single_precision_whatever_the_network_computes_in(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, _ = recorded
    denoiser = Denoiser(bundle, conditions_of(bundle), guided=False)
    (velocity,) = denoiser.run(gather, window=WINDOW, timestep=9)
    assert (velocity.dtype, velocity.shape) == (np.float32, (1, 4, 4, 4, 4))


def test_it_says_how_many_calls_may_run_at_once(recorded: tuple[Bundle, Recorder]) -> None:
    bundle, _ = recorded
    assert Denoiser(bundle, conditions_of(bundle), guided=False).lanes == 3


def draw_inputs() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    shapes = {"latents": (1, 4, 3, 2, 2), "audio_tokens": (1, 3, 5, 6), "face_feature": (1, 8, 1)}
    inputs = {
        name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    return {**inputs, "reference_gate": np.ones(1, np.float32)}


def test_the_blank_half_has_zeros_where_it_would_hear_or_see_and_all_else_as_it_was() -> None:
    inputs = draw_inputs()
    blanked = blank(inputs)
    assert list(blanked) == list(inputs)
    assert blanked["latents"] is inputs["latents"]
    for name in BLANKED:
        assert blanked[name].shape == inputs[name].shape
        assert (blanked[name].any(), inputs[name].any()) == (False, True)


@pytest.mark.parametrize(("guidance", "guided"), [(0.0, False), (1.0, False), (1.01, True)])
def test_guidance_above_one_needs_the_unconditional_half(guidance: float, guided: bool) -> None:
    assert is_guided(guidance) == guided


def test_guidance_goes_on_from_the_unconditional_through_the_conditional_in_float32() -> None:
    draw = np.random.default_rng(1)
    conditional = draw.standard_normal((1, 4, 3, 2, 2)).astype(np.float32)
    unconditional = draw.standard_normal((1, 4, 3, 2, 2)).astype(np.float32)
    found = guide(conditional, unconditional, 2.5)
    assert found.dtype == np.float32
    wanted = unconditional.astype(np.float64) * -1.5 + conditional.astype(np.float64) * 2.5
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(guide(conditional, unconditional, 0.0), unconditional)
