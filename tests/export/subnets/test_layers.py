"""Layers that the networks share, each against what is worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.subnets.layers import (
    Attention,
    Downsample,
    FeedForward,
    GatedGELU,
    Resnet,
    TimestepMLP,
    Upsample,
    attend,
    to_map,
    to_tokens,
)


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_attention_weighs_values_by_scaled_scores_head_by_head() -> None:
    query, key, value = (draw(2, tokens, 6, seed=tokens) for tokens in (3, 5, 5))
    found = attend(query, key, value, heads=2)
    for head in range(2):
        q, k, v = (each[..., 3 * head : 3 * head + 3] for each in (query, key, value))
        weights = torch.softmax(q @ k.transpose(1, 2) / 3**0.5, dim=-1)
        torch.testing.assert_close(found[..., 3 * head : 3 * head + 3], weights @ v)


def test_without_a_context_attention_reads_its_input(fill: Any) -> None:
    attention = fill(Attention(8, heads=2), 1)
    x = draw(1, 4, 8)
    torch.testing.assert_close(attention(x), attention(x, x))
    assert not torch.allclose(attention(x), attention(x, draw(1, 4, 8, seed=2)))


def test_a_context_may_have_a_width_of_its_own(fill: Any) -> None:
    attention = fill(Attention(8, heads=2, context_width=5), 1)
    assert attention(draw(2, 4, 8), draw(2, 7, 5)).shape == (2, 4, 8)


def test_the_gate_is_the_second_half_through_the_exact_gelu() -> None:
    gated = GatedGELU(1, hidden=1)
    with torch.no_grad():
        gated.proj.weight.copy_(torch.tensor([[3.0], [1.0]]))
        gated.proj.bias.zero_()
        found = gated(torch.tensor([2.0]))
    assert found.item() == pytest.approx(6 * 2 * 0.9772499, rel=1e-5)


def test_a_feed_forward_is_four_times_as_wide_inside(fill: Any) -> None:
    forward = fill(FeedForward(6), 1)
    assert forward.net[2].in_features == 24
    assert forward(draw(2, 3, 6)).shape == (2, 3, 6)


def test_a_resnet_of_zero_weights_is_its_shortcut() -> None:
    resnet = Resnet(4, 4, groups=2, eps=1e-5)
    with torch.no_grad():
        resnet.conv2.weight.zero_()
        resnet.conv2.bias.zero_()  # type: ignore[union-attr]
        x = draw(1, 4, 5, 6)
        torch.testing.assert_close(resnet(x), x)


def test_a_resnet_changes_width_and_takes_the_time_in(fill: Any) -> None:
    resnet = fill(Resnet(4, 6, groups=2, eps=1e-5, time_width=3), 1)
    x = draw(2, 4, 5, 6)
    found = [resnet(x, draw(1, 3, seed=seed)) for seed in (2, 3)]
    assert found[0].shape == (2, 6, 5, 6)
    assert not torch.allclose(*found)


def test_a_unet_pads_all_round_and_the_vae_right_and_below_only(fill: Any) -> None:
    x = draw(1, 2, 6, 6)
    plain = fill(Downsample(2), 1)
    torch.testing.assert_close(plain(x), F.conv2d(x, plain.conv.weight, plain.conv.bias, 2, 1))
    lopsided = fill(Downsample(2, asymmetric=True), 1)
    padded = F.pad(x, (0, 1, 0, 1))
    wanted = F.conv2d(padded, lopsided.conv.weight, lopsided.conv.bias, 2)
    torch.testing.assert_close(lopsided(x), wanted)
    assert plain(x).shape == lopsided(x).shape == (1, 2, 3, 3)


@pytest.mark.parametrize("size", [None, (4, 6), (3, 5)])
def test_an_upsampler_repeats_the_nearest_pixel(size: tuple[int, int] | None) -> None:
    upsample = Upsample(1)
    nn.init.dirac_(upsample.conv.weight)
    nn.init.zeros_(upsample.conv.bias)  # type: ignore[arg-type]
    x = draw(1, 1, 2, 3)
    with torch.no_grad():
        found = upsample(x, size)
    rows, columns = size or (4, 6)
    wanted = x[:, :, [2 * i // rows for i in range(rows)]]
    wanted = wanted[:, :, :, [3 * i // columns for i in range(columns)]]
    torch.testing.assert_close(found, wanted)


def test_the_time_goes_through_two_linears_with_silu_between_them(fill: Any) -> None:
    mlp = fill(TimestepMLP(3, 5), 1)
    x = draw(2, 3)
    torch.testing.assert_close(mlp(x), mlp.linear_2(F.silu(mlp.linear_1(x))))


def test_tokens_are_the_pixels_row_by_row_and_become_the_same_map() -> None:
    x = draw(2, 3, 4, 5)
    tokens = to_tokens(x)
    torch.testing.assert_close(tokens[1, 7], x[1, :, 1, 2])
    torch.testing.assert_close(to_map(tokens, like=x), x)
