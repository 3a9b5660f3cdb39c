"""Sizes that follow from an architecture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from echoexport.export.architecture import Architecture, LandmarkArchitecture


@pytest.mark.parametrize(("widths", "times"), [((8,), 1), ((8, 16), 2), ((8, 16, 24, 32), 8)])
def test_each_level_after_the_first_halves_the_sides(
    micro: Architecture, widths: tuple[int, ...], times: int
) -> None:
    assert replace(micro.unet, widths=widths).downscale == times
    assert replace(micro.vae, widths=widths).downscale == times


@pytest.mark.parametrize(("blocks", "times"), [(1, 1), (2, 2), (3, 2), (6, 8)])
def test_every_second_block_of_the_face_locator_halves_the_sides(blocks: int, times: int) -> None:
    assert LandmarkArchitecture(1, 4, (6,) * blocks, 8).downscale == times


def test_the_time_embedding_is_as_wide_as_the_finest_level(micro: Architecture) -> None:
    assert micro.unet.time_width == micro.unet.widths[0] == 8
