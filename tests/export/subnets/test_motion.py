"""Motion modules: frames see each other, pixels do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from echoexport.export.architecture import Architecture, MotionArchitecture
from echoexport.export.subnets.motion import MotionModule, PositionTable, TemporalAttention

WIDTH = 8
FRAMES = 3


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def motion(micro: Architecture) -> MotionArchitecture:
    assert micro.unet.motion is not None
    return micro.unet.motion


@pytest.fixture
def module(fill: Any, motion: MotionArchitecture) -> Any:
    """A motion module of random values."""
    return fill(MotionModule(WIDTH, motion), 1)


def changed(module: Any, *, frame: int, pixel: tuple[int, int]) -> Tensor:
    """Where the output (frames, h, w) changes with one pixel of one frame; one window."""
    x = draw(FRAMES, WIDTH, 4, 5)
    other = x.clone()
    other[frame, :, pixel[0], pixel[1]] = draw(WIDTH, seed=9)
    with torch.no_grad():
        module.temporal_transformer.norm = torch.nn.Identity()  # it would spread any change
        difference = module(x, frames=FRAMES) - module(other, frames=FRAMES)
    return difference.abs().amax(dim=1) > 1e-6


def test_a_pixel_is_seen_at_its_place_in_every_frame_and_nowhere_else(module: Any) -> None:
    seen = changed(module, frame=1, pixel=(2, 3))
    assert seen[:, 2, 3].all()
    seen[:, 2, 3] = False
    assert not seen.any()


def test_windows_of_a_batch_do_not_see_each_other(module: Any) -> None:
    x = draw(2 * FRAMES, WIDTH, 2, 2)
    with torch.no_grad():
        both = module(x, frames=FRAMES)
        apart = [module(part, frames=FRAMES) for part in x.split(FRAMES)]
    torch.testing.assert_close(both, torch.cat(apart))


def test_the_order_of_frames_matters(module: Any) -> None:
    x = draw(FRAMES, WIDTH, 2, 2)
    with torch.no_grad():
        forwards = module(x, frames=FRAMES)
        backwards = module(x.flip(0), frames=FRAMES).flip(0)
    assert not torch.allclose(forwards, backwards, atol=1e-4)


def test_positions_are_the_tables_first_rows() -> None:
    table = PositionTable(4, max_frames=5)
    table.pe.copy_(torch.arange(20.0).reshape(1, 5, 4))
    found = table(torch.zeros(2, 3, 4))
    torch.testing.assert_close(found, torch.arange(12.0).reshape(1, 3, 4).expand(2, 3, 4))
    assert "pe" in table.state_dict()


def test_a_projection_that_leads_to_nothing_leaves_the_map_as_it_was(module: Any) -> None:
    with torch.no_grad():
        module.temporal_transformer.proj_out.weight.zero_()
        module.temporal_transformer.proj_out.bias.zero_()
    x = draw(FRAMES, WIDTH, 2, 2)
    torch.testing.assert_close(module(x, frames=FRAMES), x)


def test_positions_are_in_query_key_and_value(fill: Any) -> None:
    attention = fill(TemporalAttention(4, heads=2, max_frames=3), 1)
    x = draw(1, 3, 4)
    placed = x + attention.pos_encoder.pe
    wanted = attention.attend_to(placed, attention.to_k(placed), attention.to_v(placed))
    torch.testing.assert_close(attention(x), wanted)
