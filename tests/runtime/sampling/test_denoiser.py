"""One call of the denoiser: what it is given for a window, and its unconditional half."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.sampling.ddim import sinusoid
from echoexport.runtime.sampling.denoiser import Conditions, Denoiser

WINDOW = (6, 7, 0, 1)


class Recorder:
    """Stands in a bundle for the denoising network: keeps its inputs, gives its gate."""

    def __init__(self, bundle: Bundle) -> None:
        self.spec = bundle.network("denoising_unet").spec
        self.streams = 3
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


def test_a_window_gets_its_own_frames_in_its_own_order(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    Denoiser(bundle, conditions_of(bundle), guided=False).run(latents(), window=WINDOW, timestep=9)
    (given,) = recorder.given
    np.testing.assert_array_equal(given["latents"], latents()[:, :, list(WINDOW)])
    np.testing.assert_array_equal(given["audio_tokens"][0, :, 0, 0], WINDOW)
    np.testing.assert_array_equal(given["face_feature"][0, 0, :, 0, 0], WINDOW)


def test_every_call_gets_the_timestep_and_the_reference(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    Denoiser(bundle, conditions_of(bundle), guided=True).run(latents(), window=WINDOW, timestep=321)
    width = next(t for t in recorder.spec.inputs if t.name == "timestep_sinusoid").shape[1]
    for given in recorder.given:
        np.testing.assert_array_equal(given["timestep_sinusoid"], sinusoid([321], width))
        assert (given["reference_key.mid"] == 7).all()


def test_without_guidance_there_is_one_call_with_the_gate_open(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    denoiser = Denoiser(bundle, conditions_of(bundle), guided=False)
    (velocity,) = denoiser.run(latents(), window=WINDOW, timestep=9)
    assert [given["reference_gate"].tolist() for given in recorder.given] == [[1.0]]
    assert (velocity == 1.5).all()


def test_with_guidance_the_second_call_hears_sees_and_remembers_nothing(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, recorder = recorded
    denoiser = Denoiser(bundle, conditions_of(bundle), guided=True)
    conditional, unconditional = denoiser.run(latents(), window=WINDOW, timestep=9)
    blank = recorder.given[1]
    assert not blank["audio_tokens"].any()
    assert not blank["face_feature"].any()
    assert blank["reference_gate"].tolist() == [0.0]
    np.testing.assert_array_equal(blank["latents"], recorder.given[0]["latents"])
    assert ((conditional == 1.5).all(), (unconditional == 0.5).all()) == (True, True)


def test_velocities_are_single_precision_whatever_the_network_computes_in(
    recorded: tuple[Bundle, Recorder],
) -> None:
    bundle, _ = recorded
    denoiser = Denoiser(bundle, conditions_of(bundle), guided=False)
    (velocity,) = denoiser.run(latents(), window=WINDOW, timestep=9)
    assert (velocity.dtype, velocity.shape) == (np.float32, (1, 4, 4, 4, 4))


def test_it_says_how_many_calls_may_run_at_once(recorded: tuple[Bundle, Recorder]) -> None:
    bundle, _ = recorded
    assert Denoiser(bundle, conditions_of(bundle), guided=False).streams == 3
