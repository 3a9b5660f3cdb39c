"""Inputs of a bundle's self-test: real ranges, the shapes of the specs, always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echoexport.export.architecture import Architecture
from echoexport.export.graphs.self_test_inputs import make_inputs
from echoexport.export.sizes import size_networks
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.sampling.ddim import sinusoid

Arrays = dict[str, np.ndarray]


def specs_of(a: Architecture, *, precision: str = "fp32", face: str = "mask") -> Any:
    sizes = size_networks(a, size=(16, 16), frames=3, face=face, live=True)
    return describe_networks(sizes, precision=precision)


@pytest.fixture
def earlier(micro: Architecture) -> dict[str, Arrays]:
    """Outputs of every network, as if they had run: each filled with a number of its own."""
    return {
        name: {tensor.name: np.full(tensor.shape, number, np.float32) for tensor in spec.outputs}
        for number, (name, spec) in enumerate(specs_of(micro).items(), start=1)
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FAMILY.networks)
def test_every_network_gets_what_its_spec_wants(
    micro: Architecture, earlier: dict[str, Arrays], name: str, precision: str
) -> None:
    spec = specs_of(micro, precision=precision)[name]
    found = make_inputs(spec, earlier)
    assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
        tensor.name: (tensor.shape, np.dtype(tensor.dtype)) for tensor in spec.inputs
    }
    assert all(value.flags.c_contiguous and np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("name", FAMILY.networks)
def test_inputs_are_the_same_each_time(
    micro: Architecture, earlier: dict[str, Arrays], name: str
) -> None:
    spec = specs_of(micro)[name]
    first = make_inputs(spec, earlier)
    again = make_inputs(spec, earlier)
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_a_picture_and_a_sound_lie_in_the_ranges_of_real_ones(micro: Architecture) -> None:
    specs = specs_of(micro)
    picture = make_inputs(specs["vae_encoder"], {})["picture"]
    assert -1 <= picture.min() < 0 < picture.max() <= 1
    sound = make_inputs(specs["audio_encoder"], {})["log_mel"]
    assert -1 <= sound.min() < sound.max() <= 1.5


def test_rows_are_chosen_from_the_first_to_the_last(micro: Architecture) -> None:
    chosen = make_inputs(specs_of(micro)["audio_encoder_live"], {})["chosen_rows"]
    assert (chosen.sum(axis=2) == 1).all()
    assert (chosen[0, 0, 0], chosen[0, -1, -1]) == (1.0, 1.0)


def test_the_face_is_a_quarter_of_the_map_in_its_middle(micro: Architecture) -> None:
    found = make_inputs(specs_of(micro)["landmark_encoder"], {})["face_map"]
    assert set(np.unique(found)) == {0.0, 1.0}
    assert found[0, 0, 4:12, 4:12].all()
    assert found.mean() == 0.25


def test_latents_and_references_are_those_of_the_networks_before(
    micro: Architecture, earlier: dict[str, Arrays]
) -> None:
    specs = specs_of(micro)
    latents = earlier["vae_encoder"]["latents"]
    for name in ("reference_unet", "vae_decoder"):
        assert np.array_equal(make_inputs(specs[name], earlier)["latents"], latents)
    found = make_inputs(specs["denoising_unet"], earlier)
    for key, value in earlier["reference_unet"].items():
        assert np.array_equal(found[key], value)
    assert set(np.unique(found["face_feature"])) == {
        earlier["landmark_encoder"]["face_feature"].flat[0]
    }
    assert found["reference_gate"].tolist() == [1.0]


def test_the_denoiser_is_asked_in_the_middle_of_the_schedule(
    micro: Architecture, earlier: dict[str, Arrays]
) -> None:
    found = make_inputs(specs_of(micro)["denoising_unet"], earlier)
    width = micro.unet.time_width
    np.testing.assert_array_equal(found["timestep_sinusoid"], sinusoid([499], width))


def test_the_past_of_live_is_there_but_for_its_first_frame(
    micro: Architecture, earlier: dict[str, Arrays]
) -> None:
    found = make_inputs(specs_of(micro)["denoising_unet_live"], earlier)
    assert found["past_gate"].tolist() == [[0.0, 1.0]]
    past = {name: value for name, value in found.items() if name.startswith("past.")}
    assert len(past) > 2
    for value in past.values():
        assert value.std() > 0.5
        np.testing.assert_array_equal(value, np.repeat(value[:, :, :1], value.shape[2], axis=2))
    first, second = list(past.values())[:2]
    assert not np.array_equal(first[0, :, 0, :4], second[0, :, 0, :4])
