"""The VAE against the golden arrays of the original."""

from __future__ import annotations

from typing import Any

import torch

TOLERANCE = 1e-4  # of each array's largest value; the official code in fp32 against ours


def test_the_vae_encoder_gives_the_golden_moments(bench: Any, relative_error: Any) -> None:
    picture = torch.clamp(bench.input("vae_image", 0.5), -1, 1)
    encoder = bench.network("vae_encoder")
    with torch.no_grad():
        moments = encoder.moments(picture).clamp(-30, 20)
        latents = encoder(picture)
    wanted = bench.goldens["vae/encode/moments"]
    half = wanted.shape[1] // 2
    assert relative_error(moments.numpy()[:, :half], wanted[:, :half]) < TOLERANCE
    assert relative_error(moments.numpy()[:, half:], wanted[:, half:]) < TOLERANCE
    assert relative_error(latents.numpy(), bench.goldens["vae/encode/latents"]) < TOLERANCE


def test_the_vae_decoder_gives_the_golden_picture(bench: Any, relative_error: Any) -> None:
    with torch.no_grad():
        picture = bench.network("vae_decoder")(bench.input("vae_latent", 0.8))
    assert relative_error(picture.numpy(), bench.goldens["vae/decode/sample"]) < TOLERANCE
