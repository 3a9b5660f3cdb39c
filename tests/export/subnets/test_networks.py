"""The networks in the form that is exported: flat tensors in the specs' order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from echoexport.export.architecture import Architecture
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.networks import (
    build_network,
    constant_shapes,
    load_weights,
    wanted_shapes,
)
from echoexport.export.subnets.unet import DenoisingUNet, ReferenceUNet
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks


def specs_of(a: Architecture) -> Any:
    sizes = size_networks(a, size=(12, 8), frames=3, face="mask", live=True)
    return describe_networks(sizes, precision="fp32")


@pytest.mark.parametrize("name", FAMILY.networks)
def test_a_network_takes_and_gives_what_its_spec_says(
    micro: Architecture, fill: Any, random_inputs: Any, run_torch: Any, name: str
) -> None:
    spec = specs_of(micro)[name]
    found = run_torch(fill(build_network(name, micro), 1), spec, random_inputs(spec, 2))
    assert {key: value.shape for key, value in found.items()} == {
        tensor.name: tensor.shape for tensor in spec.outputs
    }


@pytest.mark.parametrize("name", FAMILY.networks)
def test_a_network_is_built_without_values_and_as_it_runs(micro: Architecture, name: str) -> None:
    network = build_network(name, micro, dtype="float16")
    tensors = list(network.parameters())
    assert {str(tensor.device) for tensor in tensors} == {"meta"}
    assert {tensor.dtype for tensor in tensors} == {torch.float16}
    assert not any(tensor.requires_grad for tensor in tensors)
    assert not network.training


def test_keys_and_values_come_in_pairs_in_the_order_of_the_transformers(
    micro: Architecture, fill: Any
) -> None:
    network = fill(build_network("reference_unet", micro), 1)
    latents = torch.ones(1, 4, 4, 6)
    with torch.no_grad():
        flat = network(latents)
        taps = ReferenceUNet.forward(network, latents)[1]
    wanted = [tensor for tap in taps.values() for tensor in (tap.key, tap.value)]
    assert len(flat) == len(wanted) == 2 * len(taps)
    for found, tensor in zip(flat, wanted, strict=True):
        torch.testing.assert_close(found, tensor, rtol=0, atol=0)


def test_trailing_keys_and_values_go_to_the_transformers_in_that_order(
    micro: Architecture, fill: Any, random_inputs: Any
) -> None:
    spec = specs_of(micro)["denoising_unet"]
    network = fill(build_network("denoising_unet", micro), 1)
    inputs = [torch.from_numpy(value) for value in random_inputs(spec, 2).values()]
    pairs = inputs[5:]
    by_path = dict(zip(network.paths, zip(pairs[::2], pairs[1::2], strict=True), strict=True))
    with torch.no_grad():
        wanted = DenoisingUNet.forward(network, *inputs[:5], by_path)
        torch.testing.assert_close(network(*inputs), wanted, rtol=0, atol=0)


def test_every_weight_is_wanted_and_no_other(micro: Architecture) -> None:
    network = build_network("landmark_encoder", micro)
    weights = {key: np.ones(shape, np.float32) for key, shape in wanted_shapes(network).items()}
    assert {"conv_in.weight", "conv_out.bias"} <= weights.keys()
    loaded = load_weights(network, weights)
    assert all((tensor == 1).all() for tensor in loaded.state_dict().values())
    lacking = dict(list(weights.items())[1:])
    with pytest.raises(RuntimeError, match=r"Missing key.*conv_in\.weight"):
        load_weights(build_network("landmark_encoder", micro), lacking)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*stranger"):
        load_weights(
            build_network("landmark_encoder", micro),
            {**weights, "stranger": weights["conv_in.bias"]},
        )


def test_what_no_checkpoint_has_is_wanted_too_and_not_among_its_shapes(
    micro: Architecture, fill: Any
) -> None:
    long = replace(micro, audio=replace(micro.audio, context=240))
    network = build_network("audio_encoder_live", long)
    constants = constant_shapes(network)
    assert constants == {
        f"encoder.blocks.{layer}.attn.padding_{kind}": (1, 15, micro.audio.width)
        for layer in range(micro.audio.layers)
        for kind in ("key", "value")
    }
    assert not constants.keys() & wanted_shapes(network).keys()
    fill(network, 1)
    assert not any(buffer.is_meta for buffer in network.buffers())
    values = {key: np.zeros(shape, np.float32) for key, shape in wanted_shapes(network).items()}
    with pytest.raises(KeyError, match="padding_key"):
        load_weights(build_network("audio_encoder_live", long), values)


def test_position_tables_are_among_the_wanted_shapes(micro: Architecture) -> None:
    shapes = wanted_shapes(build_network("audio_encoder", micro))
    assert shapes["encoder.positional_embedding"] == (micro.audio.context, micro.audio.width)
