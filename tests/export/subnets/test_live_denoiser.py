"""The denoiser for live: what a whole window gives its new frames, from features of the past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from echoexport.export.architecture import Architecture
from echoexport.export.sizes import size_motion, size_networks
from echoexport.export.subnets.motion import TemporalBlock
from echoexport.export.subnets.networks import build_network
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks

FRAMES = 6
PAST = 4
ROUNDING = 5e-6  # of each tensor's largest value; sums in another order
Arrays = dict[str, Tensor]
Run = Callable[[Arrays], Arrays]


@pytest.fixture(params=["mask", "pose"])
def face(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[1, 2], ids=["one attention", "two attentions"])
def architecture(micro: Architecture, request: pytest.FixtureRequest) -> Architecture:
    motion = micro.unet.motion
    assert motion is not None
    attentions = replace(motion, attention_blocks=request.param)
    return replace(micro, unet=replace(micro.unet, motion=attentions))


@pytest.fixture
def run(architecture: Architecture, fill: Any, face: str) -> Callable[[str], Run]:
    """A function that gives a denoiser, plain or for live, as a function of named tensors."""
    sizes = size_networks(architecture, size=(12, 8), frames=FRAMES, face=face, live=True)
    specs = describe_networks(sizes, precision="fp32")

    def load(name: str) -> Run:
        network = fill(build_network(name, architecture), 4)

        def call(inputs: Arrays) -> Arrays:
            with torch.no_grad():
                values = network(*(inputs[tensor.name] for tensor in specs[name].inputs))
            values = values if isinstance(values, tuple) else (values,)
            return dict(zip((tensor.name for tensor in specs[name].outputs), values, strict=True))

        call.network = network  # type: ignore[attr-defined]
        return call

    return load


@pytest.fixture
def window(architecture: Architecture, face: str, random_inputs: Any) -> Arrays:
    sizes = size_networks(architecture, size=(12, 8), frames=FRAMES, face=face)
    spec = describe_networks(sizes, precision="fp32")["denoising_unet"]
    return {name: torch.from_numpy(value) for name, value in random_inputs(spec, 5).items()}


def cut_new(window: Arrays) -> Arrays:
    """The window's last frames, which are new; its past is not there."""
    face = window["face_feature"]
    return {
        **window,
        "latents": window["latents"][:, :, PAST:],
        "audio_tokens": window["audio_tokens"][:, PAST:],
        "face_feature": face[:, :, PAST:] if face.shape[2] > 1 else face,
        "past_gate": torch.zeros(1, PAST),
    }


def find_error(found: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest wanted value."""
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


def list_features(run: Run, window: Arrays, architecture: Architecture) -> tuple[Tensor, Arrays]:
    """A plain denoiser's velocity, and the features that its temporal attentions see.

    By path, (1, frames, places, width).
    """
    features: list[Tensor] = []
    hooks = [
        norm.register_forward_hook(lambda _, __, given: features.append(given))
        for block in run.network.modules()  # type: ignore[attr-defined]
        if isinstance(block, TemporalBlock)
        for norm in block.norms
    ]
    velocity = run(window)["velocity"]
    for hook in hooks:
        hook.remove()
    taps = size_motion(architecture.unet, *window["latents"].shape[-2:])
    by_path = {
        tap.path: given.transpose(0, 1)[None] for tap, given in zip(taps, features, strict=True)
    }
    return velocity, by_path


def test_with_a_windows_own_features_it_gives_what_the_window_gives(
    run: Callable[[str], Run], window: Arrays, architecture: Architecture
) -> None:
    velocity, features = list_features(run("denoising_unet"), window, architecture)
    past = {f"past.{path}": given[:, :PAST] for path, given in features.items()}
    found = run("denoising_unet_live")(
        {**cut_new(window), **past, "past_gate": torch.ones(1, PAST)}
    )
    assert find_error(found["velocity"], velocity[:, :, PAST:]) < ROUNDING
    for path, given in features.items():
        assert find_error(found[f"kept.{path}"], given[:, -PAST:]) < ROUNDING


def test_what_it_keeps_is_the_past_that_goes_on_and_the_new(
    run: Callable[[str], Run], window: Arrays, architecture: Architecture
) -> None:
    live = run("denoising_unet_live")
    taps = size_motion(architecture.unet, *window["latents"].shape[-2:])
    past = {
        f"past.{tap.path}": torch.randn(
            1, PAST, tap.positions, tap.width, generator=torch.Generator().manual_seed(8)
        )
        for tap in taps
    }
    found = live({**cut_new(window), **past, "past_gate": torch.ones(1, PAST)})
    new = FRAMES - PAST
    for name, old in past.items():
        kept = found[name.replace("past.", "kept.")]
        torch.testing.assert_close(kept[:, : PAST - new], old[:, new:], rtol=0, atol=0)
        assert not torch.equal(kept[:, PAST - new :], old[:, PAST - new :])


def test_a_past_that_is_not_there_is_not_seen(
    run: Callable[[str], Run], window: Arrays, architecture: Architecture
) -> None:
    live = run("denoising_unet_live")
    taps = size_motion(architecture.unet, *window["latents"].shape[-2:])
    shapes = {f"past.{tap.path}": (1, PAST, tap.positions, tap.width) for tap in taps}
    zeros = {name: torch.zeros(shape) for name, shape in shapes.items()}
    ones = {name: torch.ones(shape) for name, shape in shapes.items()}
    new = cut_new(window)
    closed = live({**new, **zeros})["velocity"]
    torch.testing.assert_close(live({**new, **ones})["velocity"], closed, rtol=0, atol=0)
    half = torch.tensor([[0.0] * (PAST - 1) + [1.0]])
    seen = live({**new, **ones, "past_gate": half})["velocity"]
    assert (seen - closed).abs().max() > 1e-3
    mixed = {name: torch.cat([5 * one[:, :-1], one[:, -1:]], dim=1) for name, one in ones.items()}
    same = live({**new, **mixed, "past_gate": half})["velocity"]
    torch.testing.assert_close(same, seen, rtol=0, atol=1e-6)
