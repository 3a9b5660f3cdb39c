"""A recipe so small that it trains in seconds, and the voices for it.

What the tests of the training share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echoexport.export.architecture import Architecture, AudioArchitecture
from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.recipe import Recipe, StagePlan
from echoexport.export.demo.training.sounds import Sound, describe_sound

MakeControl = Callable[..., TrainingControl]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small only lose by sharing their work, above all beside other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def micro_recipe(micro: Architecture) -> Recipe:
    """Pictures of 16 px, latents of 8; every stage takes a handful of steps."""
    audio = AudioArchitecture(mels=80, context=60, width=12, heads=3, layers=1)
    return Recipe(
        "micro",
        architecture=dataclasses.replace(micro, audio=audio),
        size=16,
        window=3,
        voices=4,
        faces=24,
        clips=6,
        clip_frames=5,
        audio=StagePlan(4, 2, 1e-2, warmup=2, average=0.9),
        vae=StagePlan(5, 4, 1e-2, warmup=2, average=0.9),
        unets=StagePlan(2, 3, 1e-2, warmup=2, average=0.9),
    )


@pytest.fixture(scope="session")
def micro_sounds() -> list[Sound]:
    """Four noises of about a second with faces that mean nothing."""
    random = np.random.default_rng(3)
    sounds = []
    for count in (12_000, 14_400, 16_000, 17_120):
        samples = (random.standard_normal(count) * 3000).astype(np.int16)
        sounds.append(
            describe_sound(samples, random.random((count // 160 + 1, 8), dtype=np.float32))
        )
    return sounds


@pytest.fixture
def make_control(tmp_path: Path) -> MakeControl:
    """A function that gives a control on the CPU, which tells nobody.

    It writes below the test's folder.
    """

    def make(name: str = "run", **changes: Any) -> TrainingControl:
        (tmp_path / name).mkdir(exist_ok=True)
        tell = changes.pop("tell", lambda line: None)
        return TrainingControl(
            tmp_path / name, torch.device("cpu"), 1, tell, **{"workers": 1, **changes}
        )

    return make
