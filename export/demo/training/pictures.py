"""The VAE's stage: drawn faces in, faces out, through latents that are whitened at the end."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.architecture import VAEArchitecture
from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.people import gather_people
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.saving import drop_parts, make_in_parts
from echoexport.export.demo.training.stage import Objective
from echoexport.export.demo.world.geometry import face_box, mouth_geometry
from echoexport.export.demo.world.picture import draw_frames
from echoexport.export.demo.world.state import STATE_WIDTH
from echoexport.export.subnets.vae import VAEDecoder, VAEEncoder

_CHUNK = 128  # pictures measured at a time
_DRAWN_AT_ONCE = 1024
# Of a latent's standard deviation: what 6 steps of sampling leave is about 0.03.
_LATENT_NOISE = 0.05
_LATENT_PULL = 1e-3


class PicturePair(nn.Module):
    """Both halves of the VAE."""

    def __init__(self, a: VAEArchitecture) -> None:
        super().__init__()
        self.downscale = a.downscale
        self.vae_encoder = VAEEncoder(a)
        self.vae_decoder = VAEDecoder(a)


class Faces:
    """Many people with random mouths, lids and poses, on the device.

    pictures (n, 3, H, W) uint8; regions (n, 2, 4), as of :func:`find_regions`.
    """

    def __init__(self, recipe: Recipe, *, first: int, count: int, control: TrainingControl) -> None:
        """Raises ``StopTrainingError`` when the run is over.

        On a CPU, what is drawn by then is kept.
        """
        self._name = f"faces-{first}"
        self._control = control
        people = gather_people(
            range(first, first + count),
            workers=control.workers,
            report=partial(control.report, "people"),
        )
        states = random_states(count, seed=first)

        def draw(part: slice) -> dict[str, Tensor]:
            return {
                "pictures": draw_levels(people[part], states[part], recipe=recipe, control=control)
            }

        keep = control.device.type == "cpu"  # a GPU draws them quicker than a disk reads them
        drawn = make_in_parts(
            self._name, draw, count=count, part=_DRAWN_AT_ONCE, keep=keep, control=control
        )
        self.pictures = drawn["pictures"]
        self.regions = torch.from_numpy(find_regions(people, size=recipe.size)).to(control.device)

    def drop(self) -> None:
        """Remove what is kept of them on disk."""
        drop_parts(self._name, self._control)

    def draw(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Pictures (count, 3, H, W) uint8, and the weight of each pixel (count, 1, H, W).

        Half of the pictures are mirrored.
        """
        device = self.pictures.device
        pick = torch.randint(len(self.pictures), (count,), generator=generator, device=device)
        mirrored = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
        pictures = self.pictures[pick]
        weights = weigh_regions(self.regions[pick], size=pictures.shape[-1])
        return torch.where(mirrored, pictures.flip(-1), pictures), torch.where(
            mirrored, weights.flip(-1), weights
        )


@torch.no_grad()
def draw_levels(
    people: NDArray[np.float32],
    states: NDArray[np.float32],
    *,
    recipe: Recipe,
    control: TrainingControl,
) -> Tensor:
    """Frames as uint8 (n, 3, H, W) on the device, of people (n, P) and states (n, 8).

    torch draws them on a GPU; numpy does on a CPU, where it is faster.
    """
    if control.device.type == "cpu":
        return to_levels(torch.from_numpy(draw_frames(people, states, size=recipe.size)))
    there = (torch.from_numpy(array).to(control.device) for array in (people, states))
    return to_levels(draw_frames(*there, size=recipe.size))


def to_levels(frames: Tensor) -> Tensor:
    """[0, 1] to uint8, rounded: what a picture file would hold."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def find_regions(people: NDArray[np.float32], *, size: int) -> NDArray[np.float32]:
    """Rectangles (x0, y0, x1, y1) in pixels about the mouth and about the eyes, (n, 2, 4)."""
    mouth = mouth_geometry(people, size=size)
    wide = 1.15 * mouth.half_width
    high = 1.1 * mouth.half_height
    x = mouth.x
    y = mouth.y + mouth.drop
    lips = np.stack([x - wide, y - high, x + wide, y + high], axis=1)
    left, top, right, bottom = np.asarray(face_box(people, size=size)).T
    inset = 0.08 * (right - left)
    band = bottom - top
    eyes = np.stack([left + inset, top + 0.2 * band, right - inset, top + 0.5 * band], axis=1)
    return np.stack([lips, eyes], axis=1).astype(np.float32)


def fill_boxes(boxes: Tensor, *, size: int) -> Tensor:
    """Boxes (n, 4) in pixels as masks of 0 and 1, (n, H, W)."""
    grid = torch.arange(size, device=boxes.device) + 0.5
    inside = (grid >= boxes[:, :2, None]) & (
        grid < boxes[:, 2:, None]
    )  # (n, 2, size): columns, then rows
    return (inside[:, 1, :, None] & inside[:, 0, None, :]).float()


def weigh_regions(regions: Tensor, *, size: int) -> Tensor:
    """How much each pixel counts, (n, 1, H, W).

    Pixels about the mouth count 4, about the eyes 2, elsewhere 1.
    """
    mouth = fill_boxes(regions[:, 0], size=size)
    eyes = fill_boxes(regions[:, 1], size=size)
    return torch.maximum(1 + 3 * mouth, 1 + eyes)[:, None]


def random_states(count: int, *, seed: int) -> NDArray[np.float32]:
    """Mouths of every openness, a third of them shut; now and then a blink: (count, 8)."""
    draw = np.random.Generator(np.random.PCG64(seed + 17))
    states = np.zeros((count, STATE_WIDTH), np.float32)
    shut = draw.random(count) < 0.33
    states[:, 0] = np.where(shut, 0, draw.random(count))
    states[:, 1] = draw.uniform(-1, 1, count)
    states[:, 2] = np.where(draw.random(count) < 0.5, 0, draw.random(count))
    states[:, 3] = np.where(draw.random(count) < 0.85, 0, draw.random(count))
    states[:, 4:6] = draw.uniform(-1, 1, (count, 2))
    states[:, 6:] = draw.uniform(-0.3, 0.3, (count, 2))
    return states


def picture_objective(
    pair: PicturePair, faces: Faces, *, count: int, control: TrainingControl
) -> Objective:
    """The VAE's stage: absolute and squared error, edges and structure.

    Latents kept near unit size.
    """
    scaling = pair.vae_encoder.scaling
    sides = faces.pictures.shape[-1] // pair.downscale

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        shape = (count, pair.vae_encoder.latent_channels, sides, sides)
        return *faces.draw(generator, count), torch.randn(
            shape, generator=generator, device=control.device
        )

    def loss(levels: Tensor, weight: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        picture = (levels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with control.autocast():
            latents = pair.vae_encoder(picture)
            again = pair.vae_decoder(latents + noise * (_LATENT_NOISE * scaling)).float()
        error = again - picture
        pull = (latents.float() / scaling).square().mean()
        weighted = ((error.abs() + 2 * error.square()) * weight).mean()
        edges = (_across(error).abs().mean() + _down(error).abs().mean()) / 2
        structure = 1 - structural_similarity(again, picture).mean()
        total = weighted + edges + 0.5 * structure + _LATENT_PULL * pull
        psnr = -10 * (error.square().mean() / 4).log10()
        return total, {"psnr": psnr, "ssim": 1 - structure, "latent_size": pull.sqrt()}

    return Objective(draw, loss)


def _across(x: Tensor) -> Tensor:
    return x[..., :, 1:] - x[..., :, :-1]


def _down(x: Tensor) -> Tensor:
    return x[..., 1:, :] - x[..., :-1, :]


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004) with a 7x7 box, of pictures in [-1, 1].

    A map a little smaller than the pictures.
    """
    c1 = (0.01 * 2) ** 2
    c2 = (0.03 * 2) ** 2

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, stride=1)

    mean_a = mean(a)
    mean_b = mean(b)
    variance_a = mean(a * a) - mean_a**2
    variance_b = mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return top / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))


@torch.no_grad()
def whiten(pair: PicturePair, faces: Faces) -> None:
    """Whiten scaled latents: a linear map, folded into the 1x1 convolutions.

    The latents then have mean 0 and covariance 1.

    The scaling factor then means what it does in the original, where it brings latents
    to about unit size.
    """
    latents = []
    for start in range(0, min(len(faces.pictures), 4096), _CHUNK):
        picture = faces.pictures[start : start + _CHUNK].float() / 127.5 - 1
        latents.append(pair.vae_encoder(picture) / pair.vae_encoder.scaling)
    flat = torch.cat(latents).transpose(0, 1).flatten(1).double()
    mean = flat.mean(dim=1)
    values, vectors = torch.linalg.eigh(torch.cov(flat))
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T * pair.vae_encoder.scaling
    _fold(pair, mean=mean, forward=torch.linalg.inv(root), backward=root)


def _fold(pair: PicturePair, *, mean: Tensor, forward: Tensor, backward: Tensor) -> None:
    """mean' = forward @ (mean - m) on the way in, its inverse on the way out.

    Forward and backward (4, 4).
    """
    channels = len(mean)
    quant = pair.vae_encoder.quant_conv
    post = pair.vae_decoder.post_quant_conv
    weight = quant.weight[:channels, :, 0, 0].double()
    bias = quant.bias[:channels].double()  # type: ignore[index]
    quant.weight[:channels, :, 0, 0] = (forward @ weight).float()
    quant.bias[:channels] = (forward @ (bias - mean)).float()  # type: ignore[index]
    inner = post.weight[:, :, 0, 0].double()
    post.bias.add_((inner @ mean).float())  # type: ignore[union-attr]
    post.weight[:, :, 0, 0] = (inner @ backward).float()


@torch.no_grad()
def measure_pair(pair: PicturePair, faces: Faces) -> dict[str, float]:
    """PSNR in dB and SSIM of pictures that were not trained on."""
    psnr = []
    ssim = []
    for start in range(0, len(faces.pictures), _CHUNK):
        picture = faces.pictures[start : start + _CHUNK].float() / 127.5 - 1
        again = pair.vae_decoder(pair.vae_encoder(picture)).clamp(-1, 1)
        error = (again - picture).square().mean(dim=(1, 2, 3))
        psnr += [-10 * math.log10(max(float(e) / 4, 1e-12)) for e in error]
        ssim += [float(s) for s in structural_similarity(again, picture).mean(dim=(1, 2, 3))]
    worst = sorted(range(len(psnr)), key=lambda i: psnr[i])[: max(len(psnr) // 10, 1)]
    return {
        "psnr": float(np.mean(psnr)),
        "psnr_worst_decile": float(np.mean([psnr[i] for i in worst])),
        "ssim": float(np.mean(ssim)),
        "ssim_worst_decile": float(np.mean(sorted(ssim)[: len(worst)])),
    }
