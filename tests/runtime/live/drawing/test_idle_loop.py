"""The loop of a face at rest: played to and fro, turned in a blink, left from any frame."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.live.drawing.causal_sampling import BlockOrder, CausalSampler, Sitter
from echoexport.runtime.live.drawing.idle_loop import (
    IdleFrame,
    IdleLoop,
    IdleOrder,
    draw_idle,
    find_turn,
)
from echoexport.runtime.live.drawing.stream_state import PastFrame, StreamState

KEEP = 5
SITTER = Sitter({}, lambda numbers: np.zeros(1, np.float32))


def paint(level: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), level, np.uint8)


def make_past(number: int, heard: float = 0.0) -> PastFrame:
    latents = np.full((1, 4, 1, 1), number, np.float32)
    return PastFrame(number, latents, np.full((1, 1), heard, np.float32))


def make_loop(count: int) -> IdleLoop:
    """Frames whose numbers are 10, 11, ..."""
    frames = [IdleFrame(paint(number), make_past(10 + number)) for number in range(count)]
    features = {999: {"past.a": np.ones(1, np.float32)}}
    past = tuple(frame.past for frame in frames[-KEEP:])
    return IdleLoop(tuple(frames), StreamState(past, 10 + count, features))


class NumberingSampler(CausalSampler):
    """Draws nothing: a frame's latents are its number."""

    name = "numbering"

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest, seed=0, guidance=1.0)
        self.blocks: list[list[float]] = []

    def draw(self, state: StreamState, order: BlockOrder) -> StreamState:
        heard = [float(tokens[0, 0]) for tokens in order.tokens]
        self.blocks.append(heard)
        frames = [make_past(state.next_number + place, value) for place, value in enumerate(heard)]
        return state.follow(frames, keep=self.keep)


@pytest.fixture
def sampler(make_null_bundle: Callable[..., Path]) -> NumberingSampler:
    return NumberingSampler(read_manifest(make_null_bundle(frames=KEEP + 1)))


def draw_loop(
    sampler: NumberingSampler,
    spoken: list[float],
    *,
    shut: int = 0,
    frames: int = 6,
    block: int = 4,
) -> IdleLoop:
    tokens = [np.full((1, 1), heard, np.float32) for heard in spoken]
    silence = np.zeros((1, 1), np.float32)
    order = IdleOrder(SITTER, silence, tuple(tokens), shut, frames, block, 2)
    return draw_idle(sampler, order, decode=lambda latents: paint(int(latents.flat[0])))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_loop_goes_to_and_fro_and_never_jumps(count: int) -> None:
    loop = make_loop(count)
    shown = [int(loop.at(place).picture[0, 0, 0]) for place in range(4 * count)]
    assert shown[0] == count - 1
    assert shown[:count] == list(range(count))[::-1]
    assert all(abs(after - before) <= 1 for before, after in pairwise(shown))
    if count > 1:
        assert all(after != before for before, after in pairwise(shown))
        assert shown[2 * (count - 1)] == count - 1


def test_a_loop_has_frames_before_its_first_place_too() -> None:
    loop = make_loop(3)
    assert [int(loop.at(place).picture[0, 0, 0]) for place in range(-4, 1)] == [2, 1, 0, 1, 2]


@pytest.mark.parametrize("place", [0, 1, 5, 1_000_003])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_stream_goes_on_from_the_frames_that_were_shown(place: int, count: int) -> None:
    loop = make_loop(count)
    state = loop.state_at(place, keep=KEEP)
    shown = [loop.at(place - back).past for back in range(KEEP - 1, -1, -1)]
    assert list(state.past) == shown
    assert state.next_number == loop.rest.next_number
    assert state.features is loop.rest.features


def test_a_long_window_has_all_the_frames_it_needs() -> None:
    assert len(make_loop(4).state_at(3, keep=100).past) == 100


def test_the_loop_is_drawn_from_a_silent_window_the_phrase_and_silence(
    sampler: NumberingSampler,
) -> None:
    loop = draw_loop(sampler, [1, 2, 3], frames=6, block=4)
    assert sampler.blocks == [[0] * 6, [1, 2, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    heard = [float(frame.past.tokens[0, 0]) for frame in loop.frames]
    assert len(loop.frames) == 9  # six at least, to the end of a block
    assert heard == [0.0] * 9
    assert [frame.past.number for frame in loop.frames] == list(range(9, 18))
    assert [int(frame.picture[0, 0, 0]) for frame in loop.frames] == list(range(9, 18))
    assert list(loop.rest.past) == [frame.past for frame in loop.frames[-KEEP:]]
    assert loop.rest.next_number == 18


def test_the_loop_turns_among_the_shut_frames_of_the_phrase(sampler: NumberingSampler) -> None:
    loop = draw_loop(sampler, [1, 2, 0, 0], shut=2, frames=4)
    # pictures brighten with their number: the first shut one is furthest from rest
    assert [frame.past.number for frame in loop.frames] == [8, 9, 10, 11, 12, 13]


def test_a_loop_turns_where_it_is_furthest_from_rest() -> None:
    pictures = [paint(level) for level in (100, 90, 40, 95, 180)]
    assert find_turn(pictures, rest=paint(100)) == 4
    assert find_turn(pictures[:4], rest=paint(100)) == 2
    assert find_turn(pictures, rest=paint(255)) == 2
    assert find_turn([], rest=paint(0)) == 0
