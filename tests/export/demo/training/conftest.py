"""The picture networks and the scenes that stages of the training share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.pictures import PicturePair
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.scenes import Scenes
from echoexport.export.demo.training.sounds import Sound

MakeControl = Callable[..., TrainingControl]


@pytest.fixture
def pair(micro_recipe: Recipe) -> PicturePair:
    torch.manual_seed(2)
    return PicturePair(micro_recipe.architecture.vae).eval()


@pytest.fixture
def scenes(
    micro_recipe: Recipe, micro_sounds: list[Sound], pair: PicturePair, make_control: MakeControl
) -> Scenes:
    return Scenes(micro_recipe, micro_sounds, pair=pair, control=make_control())
