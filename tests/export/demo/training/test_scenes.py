"""Scenes: drawn once and kept, windows that hear and see what the runtime does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
from echoexport.export.demo.training.pictures import PicturePair
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.scenes import (
    MovingPerson,
    Scenes,
    WindowBatches,
    draw_masks,
    draw_moving_people,
    hear_rows,
    portrait_states,
)
from echoexport.export.demo.training.sounds import Sound
from echoexport.export.demo.world.geometry import face_box
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.inputs.portrait import crop_face

MakeControl = Callable[..., TrainingControl]


pytestmark = pytest.mark.usefixtures("one_thread")


def random_features(sounds: list[Sound], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(sound.rows, 2, 12, generator=generator).half() for sound in sounds]


def test_a_frame_hears_what_the_runtime_lets_it_hear() -> None:
    features = np.random.default_rng(1).standard_normal((37, 2, 3)).astype(np.float32)
    for fps in (24, 25, 30):
        wanted = AudioTokens(features, fps, frames=40).window(range(24))
        rows = hear_rows(MovingPerson(1, 0, 0.0, fps), 24, len(features))
        np.testing.assert_array_equal(features[rows].reshape(1, 24, 20, 3), wanted)


def test_a_clip_that_starts_later_hears_what_the_same_frame_of_the_whole_hears() -> None:
    whole, later = (hear_rows(MovingPerson(1, 0, start, 25), 24, 500) for start in (0.0, 0.4))
    np.testing.assert_array_equal(later[:14], whole[10:])


def test_windows_hold_the_tokens_of_their_own_clip(
    micro_recipe: Recipe, scenes: Scenes, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    readings = [random_features(micro_sounds, seed) for seed in (1, 2, 3)]
    batches = WindowBatches(scenes, readings, recipe=micro_recipe, control=make_control())
    window = batches.draw(torch.Generator().manual_seed(7), 20)
    assert window.tokens.shape == (20, 3, 20, 12)
    assert window.latents.shape == (20, 4, 3, 8, 8)
    assert window.mask.shape == (20, 1, 16, 16)
    assert window.weights.shape == (20, 1, 1, 8, 8)
    heard = set()
    for latents, reference, tokens in zip(
        window.latents, window.reference, window.tokens, strict=True
    ):
        clip = next(
            i for i, known in enumerate(scenes.references) if torch.equal(known.float(), reference)
        )
        plan = scenes.plans[clip]
        starts = [
            s
            for s in range(3)
            if torch.equal(scenes.latents[clip, s : s + 3].float().transpose(0, 1), latents)
        ]
        rows = hear_rows(plan, micro_recipe.clip_frames, micro_sounds[plan.sound].rows)
        found = [
            reading
            for reading, features in enumerate(readings)
            if any(
                torch.equal(features[plan.sound][rows[s : s + 3]].float().flatten(1, 2), tokens)
                for s in starts
            )
        ]
        assert len(found) == 1
        heard.update(found)
    assert heard == {0, 1, 2}


@pytest.mark.parametrize("seed", range(1_000_000, 1_000_012))
def test_masks_are_the_pipelines_for_a_box_where_it_is(seed: int) -> None:
    people = stack_people([draw_person(seed)])
    box = face_box(people, size=128)
    ours = draw_masks(torch.from_numpy(box), torch.zeros(1, 4), size=128)[0, 0].numpy()
    crop = crop_face(np.zeros((128, 128, 3), np.uint8), box[0], size=(128, 128))
    x0, y0, x1, y1 = crop.rect
    theirs = crop.mask / 255.0
    spread = [(2 + abs(low)) + (2 + abs(high)) for low, high in ((x0, 128 - x1), (y0, 128 - y1))]
    for axis, pixels in ((0, spread[0]), (1, spread[1])):
        edges = [np.flatnonzero(mask.max(axis=axis) > 0.5)[[0, -1]] for mask in (ours, theirs)]
        assert np.abs(edges[0] - edges[1]).max() <= pixels


def test_jitter_moves_each_side_of_a_mask_by_its_share() -> None:
    boxes = torch.tensor([[40.0, 40.0, 90.0, 90.0]])
    mask = draw_masks(boxes, torch.tensor([[0.04, 0.0, -0.04, 0.1]]), size=128)[0, 0]
    columns = mask.amax(0).nonzero().flatten()
    rows = mask.amax(1).nonzero().flatten()
    assert (int(columns[0]), int(columns[-1]) + 1) == (33, 93)
    assert (int(rows[0]), int(rows[-1]) + 1) == (35, 100)


def test_scenes_are_planned_within_their_sounds(
    micro_recipe: Recipe, micro_sounds: list[Sound]
) -> None:
    plans = draw_moving_people(micro_recipe, micro_sounds)
    assert plans == draw_moving_people(micro_recipe, micro_sounds)
    assert len({plan.person for plan in plans}) == micro_recipe.clips
    for plan in plans:
        assert 0 <= plan.times(5)[0] <= plan.times(5)[-1] <= micro_sounds[plan.sound].rows / 50


def test_most_portraits_are_at_rest() -> None:
    states = portrait_states([MovingPerson(person, 0, 0.0, 25) for person in range(500)])
    assert (states.any(axis=1)).mean() == pytest.approx(0.2, abs=0.06)
    assert states[:, 0].max() <= 0.7
    assert not states[:, 2:].any()


def test_scenes_stopped_while_they_are_drawn_are_gone_on_with(
    micro_recipe: Recipe,
    micro_sounds: list[Sound],
    pair: PicturePair,
    make_control: MakeControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("echoexport.export.demo.training.scenes._CHUNK", 2)
    straight = Scenes(micro_recipe, micro_sounds, pair=pair, control=make_control("straight"))
    control = make_control("stopped")
    encode = Scenes._encode
    calls = []

    def stop_later(self: Scenes, *arguments: object) -> torch.Tensor:
        calls.append(1)
        control.stop = len(calls) == 4
        return encode(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Scenes, "_encode", stop_later)
    with pytest.raises(StopTrainingError, match="scenes: stopped at 4 of 6"):
        Scenes(micro_recipe, micro_sounds, pair=pair, control=control)
    again = Scenes(micro_recipe, micro_sounds, pair=pair, control=make_control("stopped"))
    assert len(calls) == 6  # two a part, and no part twice
    for name in ("latents", "references", "boxes", "regions"):
        assert torch.equal(getattr(again, name), getattr(straight, name))
    assert not list(control.folder.glob("*.parts"))


def test_damaged_scenes_are_refused_with_their_path(
    micro_recipe: Recipe, micro_sounds: list[Sound], pair: PicturePair, make_control: MakeControl
) -> None:
    control = make_control()
    path: Path = control.folder / f"scenes-{micro_recipe.digest}.pt"
    path.write_bytes(b"no scenes")
    with pytest.raises(CheckpointError, match=f"{path.name}: damaged; remove it"):
        Scenes(micro_recipe, micro_sounds, pair=pair, control=control)
