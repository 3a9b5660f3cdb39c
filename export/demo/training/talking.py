"""The UNets' stage: reference, denoiser and face locator learn v-prediction together."""

from __future__ import annotations

from dataclasses import astuple

import torch
from torch import Tensor, nn

from echoexport.export.architecture import Architecture
from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.scenes import Window, WindowBatches
from echoexport.export.demo.training.stage import Objective
from echoexport.export.subnets.audio_encoder import position_sinusoids
from echoexport.export.subnets.landmark_encoder import LandmarkEncoder
from echoexport.export.subnets.motion import PositionTable, TemporalTransformer
from echoexport.export.subnets.transformer import DenoisingBlock, ReferenceBlock
from echoexport.export.subnets.unet import DenoisingUNet, ReferenceUNet
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid

# The sampler's own timesteps for 6 and for 4 steps. The noisiest is drawn for a third
# of the windows: there the whole picture must come from the reference and the voice.
_SAMPLED = (832, 666, 499, 332, 166, 749, 499, 249)
_NOISIEST = 999
_NOISIEST_SHARE = 1 / 3
_ANY_SHARE = 0.15
NOISE_CLAMP = 1.5  # the acc variant's


class Talker(nn.Module):
    """The three networks; the reference's readers are the denoiser's own projections."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.denoising_unet = DenoisingUNet(a.unet)
        self.reference_unet = ReferenceUNet(a.unet)
        self.landmark_encoder = LandmarkEncoder(a.landmark)
        readers = {
            m.path: m.reader for m in self.reference_unet.modules() if isinstance(m, ReferenceBlock)
        }
        for module in self.denoising_unet.modules():
            if isinstance(module, DenoisingBlock):
                readers[module.path].to_k = module.attn1.to_k
                readers[module.path].to_v = module.attn1.to_v
            elif isinstance(module, PositionTable):
                module.pe.copy_(torch.from_numpy(position_sinusoids(tuple(module.pe.shape))))
            elif isinstance(module, TemporalTransformer):  # a motion module starts as the identity
                nn.init.zeros_(module.proj_out.weight)
                nn.init.zeros_(module.proj_out.bias)
        nn.init.zeros_(self.denoising_unet.conv_out.weight)

    def forward(self, noisy: Tensor, sinusoids: Tensor, window: Window) -> Tensor:
        """Velocity of (b, 4, f, h, w) noisy latents; sinusoids (b, C0)."""
        taps = self.reference_unet(window.reference)[1]
        pairs = {path: (tap.key, tap.value) for path, tap in taps.items()}
        face = self.landmark_encoder(window.mask)[:, :, None]
        gate = torch.ones(len(noisy), device=noisy.device)
        velocity: Tensor = self.denoising_unet(noisy, sinusoids, window.tokens, face, gate, pairs)
        return velocity


class Noising:
    """The sampler's noise schedule on the device.

    ``alphas`` (1000,) are the signal's share, ``sinusoids`` are (1000, width).
    """

    def __init__(self, *, width: int, device: torch.device) -> None:
        scheduler = DDIMScheduler(SchedulerConfig())
        steps = len(scheduler.alphas_cumprod)
        self.alphas = torch.tensor(scheduler.alphas_cumprod, dtype=torch.float32, device=device)
        self.sinusoids = torch.from_numpy(sinusoid(list(range(steps)), width)).to(device)
        self._sampled = torch.tensor(_SAMPLED, device=device)

    def draw_timesteps(self, generator: torch.Generator, count: int) -> Tensor:
        """One timestep for each window: (count,) int64."""
        device = self.alphas.device
        choice = torch.rand(count, generator=generator, device=device)
        listed = self._sampled[
            torch.randint(len(_SAMPLED), (count,), generator=generator, device=device)
        ]
        anywhere = torch.randint(1, _NOISIEST + 1, (count,), generator=generator, device=device)
        steps = torch.where(choice < _NOISIEST_SHARE, torch.full_like(listed, _NOISIEST), listed)
        return torch.where(choice > 1 - _ANY_SHARE, anywhere, steps)

    def mix(self, clean: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents at timesteps (b,), and their velocity, both (b, 4, f, h, w).

        Salimans and Ho 2022: sqrt(a) clean + sqrt(1-a) noise, and sqrt(a) noise -
        sqrt(1-a) clean.
        """
        alpha = self.alphas[step].reshape(-1, 1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        return noisy, alpha.sqrt() * noise - (1 - alpha).sqrt() * clean


def talking_objective(
    talker: Talker, batches: WindowBatches, *, recipe: Recipe, control: TrainingControl
) -> Objective:
    """The UNets' stage: squared error of the velocity, the mouth and eyes counting more.

    Under zero terminal SNR a weight by signal-to-noise would be 0 at the noisiest step;
    the plain velocity is not.
    """
    noising = Noising(width=recipe.architecture.unet.time_width, device=control.device)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        window = batches.draw(generator, recipe.unets.batch)
        noise = draw_noise(window.latents, generator, independent=recipe.independent_noise)
        return *astuple(window), noise, noising.draw_timesteps(generator, len(noise))

    def loss(*batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        window = Window(*batch[:-2])
        (noise, step) = batch[-2:]
        noisy, velocity = noising.mix(window.latents, noise, step)
        with control.autocast():
            predicted = talker(noisy, noising.sinusoids[step], window).float()
        error = (predicted - velocity).square()
        weighted = (error * window.weights).mean() / window.weights.mean()
        hardest = (step == _NOISIEST).float()
        at_hardest = (error.mean(dim=(1, 2, 3, 4)) * hardest).sum() / hardest.sum().clamp(min=1)
        return weighted, {"noisiest": at_hardest}

    return Objective(draw, loss)


def draw_noise(like: Tensor, generator: torch.Generator, *, independent: float) -> Tensor:
    """Clamped normal noise as ``like`` (b, 4, f, h, w).

    One for all frames of a window, or one for each.
    """
    noise = torch.randn(like.shape, generator=generator, device=like.device)
    own = torch.rand(len(like), 1, 1, 1, 1, generator=generator, device=like.device) < independent
    return torch.where(own, noise, noise[:, :, :1]).clamp(-NOISE_CLAMP, NOISE_CLAMP)


@torch.no_grad()
def sample_window(talker: Talker, window: Window, *, steps: int, seed: int) -> Tensor:
    """Latents (b, 4, f, h, w) of a window by the sampler's own steps, all frames from one noise."""
    device = window.latents.device
    scheduler = DDIMScheduler(SchedulerConfig())
    noising = Noising(width=talker.denoising_unet.conv_in.out_channels, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    latents = draw_noise(window.latents, generator, independent=0.0)
    for step in (int(t) for t in scheduler.timesteps(steps)):
        sinusoids = noising.sinusoids[torch.full((len(latents),), step, device=device)]
        velocity = talker(latents, sinusoids, window)
        stepped = scheduler.step(velocity.cpu().numpy(), step, latents.cpu().numpy(), steps=steps)[
            0
        ]
        latents = torch.from_numpy(stepped).to(device)
    return latents
