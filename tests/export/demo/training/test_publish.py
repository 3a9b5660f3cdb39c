"""What is published opens, and computes what was trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.demo.training.pictures import PicturePair
from echoexport.export.demo.training.publish import halve, publish_checkpoint
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.sounds import Listener
from echoexport.export.demo.training.talking import Talker
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.golden import compute_golden
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.contract.spec import SubnetSpec

pytestmark = pytest.mark.usefixtures("one_thread")


Run = Callable[[nn.Module, SubnetSpec, dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def trained(micro_recipe: Recipe) -> dict[str, nn.Module]:
    """The six networks with random weights, readers shared as in training."""
    torch.manual_seed(5)
    a = micro_recipe.architecture
    talker = Talker(a)
    pair = PicturePair(a.vae)
    listener = Listener(a.audio)
    for module in (talker, pair, listener):
        for parameter in module.parameters():  # zeros would hide what is lost
            nn.init.normal_(parameter, std=0.2)
    modules = (
        dict(pair.named_children())
        | dict(talker.named_children())
        | {"audio_encoder": listener.audio_encoder}
    )
    return {name: module.eval().requires_grad_(False) for name, module in modules.items()}


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, micro_recipe: Recipe, trained: dict[str, nn.Module]
) -> Checkpoint:
    """The checkpoint of these networks, opened."""
    folder = publish_checkpoint(
        tmp_path_factory.mktemp("published") / "checkpoint", micro_recipe, modules=trained
    )
    return open_checkpoint(folder, "acc")


def test_a_published_checkpoint_says_what_it_is(
    published: Checkpoint, micro_recipe: Recipe
) -> None:
    assert published.architecture == micro_recipe.architecture
    sampler = published.variant
    assert (sampler.shared_noise, sampler.noise_clamp, sampler.guidance, sampler.steps) == (
        1.0,
        1.5,
        1.0,
        6,
    )


@pytest.mark.parametrize("network", FAMILY.required)
def test_a_published_network_computes_what_the_trained_one_does(
    published: Checkpoint,
    micro_recipe: Recipe,
    trained: dict[str, nn.Module],
    network: str,
    run_torch: Run,
    random_inputs: Callable[[SubnetSpec, int], dict[str, np.ndarray]],
) -> None:
    opened = published
    sizes = size_networks(opened.architecture, size=(16, 16), frames=3, face="mask")
    spec = describe_networks(sizes, precision="fp32")[network]
    inputs = random_inputs(spec, 3)
    weights = opened.weights(network, wanted_shapes(build_network(network, opened.architecture)))
    found = compute_golden(spec, opened.architecture, weights=weights, inputs=inputs)
    flat = build_network(network, micro_recipe.architecture, device="cpu")
    flat.load_state_dict(
        {key: value.float() for key, value in halve(trained[network].state_dict()).items()}
    )
    wanted = run_torch(flat, spec, inputs)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5 * np.abs(values).max())
        assert values.std() > 0


def test_the_published_networks_together_are_the_talker(
    published: Checkpoint, micro_recipe: Recipe, trained: dict[str, nn.Module]
) -> None:
    """Reference, mask and tokens through separate networks give the trained velocity."""
    from echoexport.export.demo.training.scenes import Window

    talker = Talker(micro_recipe.architecture)
    for name, module in talker.named_children():
        load = {key: value.float() for key, value in halve(trained[name].state_dict()).items()}
        module.load_state_dict(load)
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    window = Window(
        draw(1, 4, 3, 8, 8),
        draw(1, 4, 8, 8),
        draw(1, 3, 20, 12),
        draw(1, 1, 16, 16),
        draw(1, 1, 1, 8, 8),
    )
    sinusoids = draw(1, 8)
    with torch.no_grad():
        wanted = talker.eval()(window.latents, sinusoids, window)
        networks = {}
        for name in ("reference_unet", "landmark_encoder", "denoising_unet"):
            networks[name] = build_network(name, published.architecture, device="cpu")
            weights = published.weights(name, wanted_shapes(networks[name]))
            values = {
                key: torch.from_numpy(np.array(t.read(), np.float32)) for key, t in weights.items()
            }
            networks[name].load_state_dict(values)
        face = networks["landmark_encoder"](window.mask)[:, :, None]
        taps = networks["reference_unet"](window.reference)
        found = networks["denoising_unet"](
            window.latents, sinusoids, window.tokens, face, torch.ones(1), *taps
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_halved_tensors_hold_nothing_but_their_own_values() -> None:
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    part = halve({"part": whole[:, 1]})["part"]
    assert part.tolist() == [1.0, 5.0, 9.0]
    assert (part.dtype, part.requires_grad, part.untyped_storage().nbytes()) == (
        torch.float16,
        False,
        6,
    )
