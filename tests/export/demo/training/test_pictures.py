"""The VAE's stage: faces drawn once and kept, latents made white without changing a picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
from echoexport.export.demo.training.pictures import (
    Faces,
    PicturePair,
    draw_levels,
    fill_boxes,
    find_regions,
    measure_pair,
    picture_objective,
    random_states,
    structural_similarity,
    weigh_regions,
    whiten,
)
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.world.geometry import eyes_mask, mouth_mask
from echoexport.export.demo.world.person import draw_person, stack_people

MakeControl = Callable[..., TrainingControl]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def faces(micro_recipe: Recipe, make_control: MakeControl) -> Faces:
    return Faces(micro_recipe, first=0, count=micro_recipe.faces, control=make_control("faces"))


def test_whitened_latents_have_unit_covariance_and_give_the_same_pictures(
    pair: PicturePair, faces: Faces
) -> None:
    pictures = faces.pictures.float() / 127.5 - 1
    with torch.no_grad():
        before = pair.vae_decoder(pair.vae_encoder(pictures))
        whiten(pair, faces)
        latents = pair.vae_encoder(pictures)
        after = pair.vae_decoder(latents)
    flat = latents.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(torch.cov(flat), torch.eye(4, dtype=torch.double), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        flat.mean(dim=1), torch.zeros(4, dtype=torch.double), rtol=0, atol=1e-3
    )
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_whitening_twice_changes_nothing(pair: PicturePair, faces: Faces) -> None:
    whiten(pair, faces)
    once = {key: value.clone() for key, value in pair.state_dict().items()}
    whiten(pair, faces)
    torch.testing.assert_close(dict(pair.state_dict()), once, rtol=1e-3, atol=1e-4)


def test_a_batch_holds_faces_and_their_weights_mirrored_together(faces: Faces) -> None:
    pictures, weights = faces.draw(torch.Generator().manual_seed(3), 200)
    assert (pictures.dtype, tuple(pictures.shape), tuple(weights.shape)) == (
        torch.uint8,
        (200, 3, 16, 16),
        (200, 1, 16, 16),
    )
    plain = weigh_regions(faces.regions, size=16)
    known = {}
    for i in range(len(faces.pictures)):
        known[faces.pictures[i].numpy().tobytes()] = plain[i]
        known[faces.pictures[i].flip(-1).numpy().tobytes()] = plain[i].flip(-1)
    for picture, weight in zip(pictures, weights, strict=True):
        assert torch.equal(known[picture.contiguous().numpy().tobytes()], weight)


def test_the_same_generator_gives_the_same_faces(faces: Faces) -> None:
    torch.manual_seed(0)
    first = faces.draw(torch.Generator().manual_seed(4), 5)
    torch.rand(10)
    second = faces.draw(torch.Generator().manual_seed(4), 5)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_faces_stopped_while_they_are_drawn_are_gone_on_with(
    micro_recipe: Recipe, faces: Faces, make_control: MakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoexport.export.demo.training.pictures._DRAWN_AT_ONCE", 10)
    control = make_control("stopped")
    drawn = []

    def draw_and_stop(
        *arguments: np.ndarray, recipe: Recipe, control: TrainingControl
    ) -> torch.Tensor:
        drawn.append(len(arguments[0]))
        control.stop = len(drawn) == 2
        return draw_levels(*arguments, recipe=recipe, control=control)

    monkeypatch.setattr("echoexport.export.demo.training.pictures.draw_levels", draw_and_stop)
    with pytest.raises(StopTrainingError, match="faces-0: stopped at 20 of 24"):
        Faces(micro_recipe, first=0, count=24, control=control)
    control.stop = False
    again = Faces(micro_recipe, first=0, count=24, control=control)
    assert drawn == [10, 10, 4]
    assert torch.equal(again.pictures, faces.pictures)
    again.drop()
    assert not list(control.folder.iterdir())


def test_numpy_and_torch_draw_the_same_levels() -> None:
    from echoexport.export.demo.training.pictures import to_levels
    from echoexport.export.demo.world.picture import draw_frames

    people = stack_people([draw_person(i) for i in range(4)])
    states = random_states(4, seed=1)
    ours = to_levels(torch.from_numpy(draw_frames(people, states, size=32)))
    theirs = to_levels(draw_frames(torch.from_numpy(people), torch.from_numpy(states), size=32))
    assert int((ours.int() - theirs.int()).abs().max()) <= 1


@pytest.mark.parametrize(("index", "mask"), [(0, mouth_mask), (1, eyes_mask)])
def test_regions_lie_about_the_mouth_and_the_eyes(
    index: int, mask: Callable[..., np.ndarray]
) -> None:
    people = stack_people([draw_person(i) for i in range(12)])
    boxes = find_regions(people, size=64)[:, index]
    for box, truth in zip(boxes, np.asarray(mask(people, size=64)), strict=True):
        rows, columns = np.nonzero(truth)
        assert box[0] < columns.mean() < box[2]
        assert box[1] < rows.mean() < box[3]


def test_boxes_are_filled_where_a_pixels_middle_is_inside() -> None:
    mask = fill_boxes(torch.tensor([[1.4, 0.0, 3.6, 2.5]]), size=5)[0]
    assert mask.nonzero().tolist() == [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3]]


def test_mouths_count_four_times_eyes_twice_and_the_rest_once() -> None:
    regions = torch.tensor([[[0.0, 4.0, 8.0, 8.0], [0.0, 3.0, 8.0, 5.0]]])
    weights = weigh_regions(regions, size=8)[0, 0, :, 0]
    assert weights.tolist() == [1, 1, 1, 2, 4, 4, 4, 4]


def test_states_stay_in_their_ranges_and_a_third_of_the_mouths_are_shut() -> None:
    states = random_states(4000, seed=2)
    assert (states[:, 0] == 0).mean() == pytest.approx(0.33, abs=0.03)
    assert (states[:, [0, 2, 3]] >= 0).all()
    assert np.abs(states).max() <= 1
    np.testing.assert_array_equal(states, random_states(4000, seed=2))


def test_similarity_is_one_for_the_same_and_less_for_others(faces: Faces) -> None:
    pictures = faces.pictures[:4].float() / 127.5 - 1
    assert float(structural_similarity(pictures, pictures).min()) == pytest.approx(1, abs=1e-4)
    assert float(structural_similarity(pictures, pictures.flip(0)).mean()) < 0.7


def test_the_loss_of_a_pair_counts_errors_where_the_weights_are(
    pair: PicturePair, faces: Faces, make_control: MakeControl
) -> None:
    objective = picture_objective(pair, faces, count=3, control=make_control())
    levels, weight, noise = objective.draw(torch.Generator().manual_seed(1))
    assert noise.shape == (3, 4, 8, 8)
    heavy, figures = objective.loss(levels, 2 * weight, noise)
    light, _ = objective.loss(levels, weight, noise)
    assert float(heavy.detach()) > float(light.detach())
    assert figures.keys() == {"psnr", "ssim", "latent_size"}


def test_a_pair_is_measured_in_decibels_and_likeness(pair: PicturePair, faces: Faces) -> None:
    figures = measure_pair(pair, faces)
    assert figures["psnr_worst_decile"] <= figures["psnr"]
    assert figures["ssim_worst_decile"] <= figures["ssim"] <= 1
