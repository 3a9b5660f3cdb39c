"""The UNets' stage: noise as the sampler's, readers as the denoiser's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.scenes import (
    Scenes,
    WindowBatches,
)
from echoexport.export.demo.training.sounds import Sound
from echoexport.export.demo.training.talking import (
    NOISE_CLAMP,
    Noising,
    Talker,
    draw_noise,
    sample_window,
)
from echoexport.export.subnets.transformer import DenoisingBlock, ReferenceBlock
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid

MakeControl = Callable[..., TrainingControl]


pytestmark = pytest.mark.usefixtures("one_thread")


CPU = torch.device("cpu")


def random_features(sounds: list[Sound], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(sound.rows, 2, 12, generator=generator).half() for sound in sounds]


def test_shared_noise_is_one_for_all_frames_and_independent_noise_is_not() -> None:
    like = torch.zeros(64, 4, 5, 8, 8)
    shared = draw_noise(like, torch.Generator().manual_seed(1), independent=0.0)
    own = draw_noise(like, torch.Generator().manual_seed(1), independent=1.0)
    assert torch.equal(shared, shared[:, :, :1].expand_as(shared))
    assert torch.equal(own[:, :, 0], shared[:, :, 0])
    first = own[:, :, 0].flatten()
    second = own[:, :, 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / len(first) ** 0.5


def test_a_window_has_either_kind_of_noise_by_the_recipes_share() -> None:
    noise = draw_noise(
        torch.zeros(2000, 1, 2, 1, 1), torch.Generator().manual_seed(2), independent=0.2
    )
    assert float((noise[:, :, 0] != noise[:, :, 1]).float().mean()) == pytest.approx(
        0.2 * 0.98, abs=0.04
    )


def test_noise_is_normal_up_to_the_samplers_clamp() -> None:
    noise = draw_noise(
        torch.zeros(50, 4, 4, 8, 8), torch.Generator().manual_seed(3), independent=1.0
    )
    assert float(noise.abs().max()) == NOISE_CLAMP == 1.5
    assert float((noise.abs() == NOISE_CLAMP).float().mean()) == pytest.approx(0.1336, abs=0.005)
    assert abs(float(noise.mean())) < 0.01


@pytest.mark.parametrize(("steps", "last"), [(4, None), (6, 0)])
def test_the_sampler_comes_back_to_the_latents_along_the_trained_velocity(
    steps: int, last: int | None
) -> None:
    # 6 steps end at timestep 0, where a trace of the noise is left; 4 end at the clean
    # latents.
    scheduler = DDIMScheduler()
    noising = Noising(width=8, device=CPU)
    generator = torch.Generator().manual_seed(4)
    clean, noise = (torch.randn(2, 4, 3, 5, 5, generator=generator) for _ in range(2))
    for step in map(int, scheduler.timesteps(steps)):
        noisy, velocity = noising.mix(clean, noise, torch.full((2,), step))
        latents, original = scheduler.step(velocity.numpy(), step, noisy.numpy(), steps=steps)
        np.testing.assert_allclose(original, clean.numpy(), atol=2e-5)
        if step == 999:
            torch.testing.assert_close(noisy, noise, rtol=0, atol=1e-6)
    signal = 1.0 if last is None else float(scheduler.alphas_cumprod[last])
    wanted = np.sqrt(signal) * clean.numpy() + np.sqrt(1 - signal) * noise.numpy()
    np.testing.assert_allclose(latents, wanted, atol=2e-5)


def test_the_schedule_is_the_runtimes() -> None:
    noising = Noising(width=8, device=CPU)
    scheduler = DDIMScheduler()
    np.testing.assert_array_equal(noising.alphas.numpy(), scheduler.alphas_cumprod)
    np.testing.assert_array_equal(
        noising.sinusoids[[0, 499, 999]].numpy(), sinusoid([0, 499, 999], 8)
    )


def test_timesteps_are_the_samplers_for_the_most_part_and_the_noisiest_for_a_third() -> None:
    steps = Noising(width=8, device=CPU).draw_timesteps(torch.Generator().manual_seed(5), 6000)
    listed = {int(t) for count in (4, 6) for t in DDIMScheduler().timesteps(count)}
    assert 1 <= int(steps.min()) <= int(steps.max()) == 999
    assert float((steps == 999).float().mean()) == pytest.approx(1 / 3, abs=0.03)
    others = [int(step) not in listed for step in steps]
    assert sum(others) / len(others) == pytest.approx(0.15, abs=0.02)


def test_reference_readers_are_the_denoisers_own_projections(micro_recipe: Recipe) -> None:
    talker = Talker(micro_recipe.architecture)
    readers = {
        m.path: m.reader for m in talker.reference_unet.modules() if isinstance(m, ReferenceBlock)
    }
    blocks = {
        m.path: m.attn1 for m in talker.denoising_unet.modules() if isinstance(m, DenoisingBlock)
    }
    assert readers.keys() == blocks.keys() != set()
    for path, block in blocks.items():
        assert readers[path].to_k is block.to_k
        assert readers[path].to_v is block.to_v


def test_a_new_talker_says_nothing_yet_and_its_motion_modules_change_nothing(
    micro_recipe: Recipe, scenes: Scenes, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    batches = WindowBatches(
        scenes, [random_features(micro_sounds, 1)], recipe=micro_recipe, control=make_control()
    )
    window = batches.draw(torch.Generator().manual_seed(1), 2)
    talker = Talker(micro_recipe.architecture)
    noising = Noising(width=8, device=CPU)
    with torch.no_grad():
        velocity = talker(window.latents, noising.sinusoids[torch.tensor([999, 5])], window)
    bias = talker.denoising_unet.conv_out.bias
    assert bias is not None
    torch.testing.assert_close(velocity, bias[None, :, None, None, None].expand_as(velocity))


def test_sampling_a_window_is_repeatable_and_clean_for_a_perfect_talker(
    micro_recipe: Recipe, scenes: Scenes, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    batches = WindowBatches(
        scenes, [random_features(micro_sounds, 1)], recipe=micro_recipe, control=make_control()
    )
    window = batches.draw(torch.Generator().manual_seed(9), 2)
    noising = Noising(width=8, device=CPU)

    class Perfect(Talker):
        def forward(self, noisy: torch.Tensor, sinusoids: torch.Tensor, _: object) -> torch.Tensor:
            alpha = noising.alphas[(noising.sinusoids == sinusoids[0]).all(dim=1)].reshape(-1)[0]
            noise = (noisy - alpha.sqrt() * window.latents) / (1 - alpha).sqrt()
            return alpha.sqrt() * noise - (1 - alpha).sqrt() * window.latents

    talker = Perfect(micro_recipe.architecture)
    sampled = sample_window(talker, window, steps=4, seed=3)
    torch.testing.assert_close(sampled, window.latents, rtol=0, atol=1e-4)
    assert torch.equal(sampled, sample_window(talker, window, steps=4, seed=3))
