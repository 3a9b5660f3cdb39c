"""The whole training on a micro recipe, stopped and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.run import train_character
from echoexport.export.demo.training.sounds import Sound, write_sounds
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import (
    BackendError,
    CheckpointError,
    InputError,
    OutputError,
    SettingError,
)

MakeControl = Callable[..., TrainingControl]


pytestmark = pytest.mark.usefixtures("one_thread")


def begin(folder: Path, recipe: Recipe, sounds: list[Sound], **changes: Any) -> TrainingControl:
    """A run whose folder holds the speech already: these tests need no synthesizer."""
    folder.mkdir(exist_ok=True)
    path = folder / f"sounds-{recipe.voices}-{recipe.seed}.npz"
    if not path.exists():
        write_sounds(path, sounds)
    return TrainingControl(
        folder,
        torch.device("cpu"),
        recipe.seed,
        **{"tell": lambda line: None, "workers": 1, **changes},
    )


@pytest.fixture
def begun(tmp_path: Path, micro_recipe: Recipe, micro_sounds: list[Sound]) -> MakeControl:
    """A function that gives such a run; for the same name the same folder."""
    return lambda name="run", **changes: begin(
        tmp_path / name, micro_recipe, micro_sounds, **changes
    )


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory,
    micro_recipe: Recipe,
    micro_sounds: list[Sound],
    one_thread: None,
) -> Path:
    """The checkpoint of a training that nobody stopped; its parent is the run's folder."""
    return train_character(
        micro_recipe, begin(tmp_path_factory.mktemp("straight"), micro_recipe, micro_sounds)
    )


def tensors_of(folder: Path, architecture: Any) -> dict[str, np.ndarray]:
    opened = open_checkpoint(folder, "acc")
    found = {}
    for name in FAMILY.required:
        weights = opened.weights(name, wanted_shapes(build_network(name, architecture)))
        found.update({f"{name}.{key}": tensor.read() for key, tensor in weights.items()})
    return found


class Impatient(TrainingControl):
    """Over once it has been asked ``patience`` times."""

    patience = 0

    @property
    def over(self) -> bool:
        self.patience -= 1
        return self.patience < 0


def test_training_stopped_in_every_stage_ends_with_the_same_checkpoint(
    begun: MakeControl, micro_recipe: Recipe, straight: Path
) -> None:
    plain = begun("stopped")
    stopped = []
    folder = None
    for patience in (2, 6, 5, 5, 9, 17, 99):
        control = Impatient(plain.folder, plain.device, plain.seed, print, workers=1)
        control.patience = patience
        try:
            folder = train_character(micro_recipe, control)
        except StopTrainingError as stop:
            stopped.append(str(stop).partition(":")[0])
    assert set(stopped) >= {"audio", "vae", "voices heard", "unets"}
    assert folder is not None
    one, other = (tensors_of(path, micro_recipe.architecture) for path in (straight, folder))
    assert one.keys() == other.keys()
    assert [key for key in one if not np.array_equal(one[key], other[key])] == []
    assert (plain.folder / "samples" / "unets-6-steps.png").is_file()


def test_a_deadline_in_the_past_saves_and_leaves_at_once(
    begun: MakeControl, micro_recipe: Recipe
) -> None:
    control = begun(deadline=0.0)
    with pytest.raises(StopTrainingError, match="audio: stopped at step 0 of 4; state saved"):
        train_character(micro_recipe, control)
    assert (control.folder / "audio.state.pt").is_file()


@pytest.mark.parametrize(
    ("until", "left"), [("audio", ["audio.pt"]), ("vae", ["audio.pt", "vae-whitened.pt", "vae.pt"])]
)
def test_a_stage_can_be_the_last(
    begun: MakeControl, micro_recipe: Recipe, until: str, left: list[str]
) -> None:
    control = begun(until=until)
    with pytest.raises(StopTrainingError, match=f"{until}: done, and no more was asked for"):
        train_character(micro_recipe, control)
    assert sorted(path.name for path in control.folder.glob("*.pt")) == left
    assert not list(control.folder.glob("*.parts"))


def test_a_finished_training_writes_its_checkpoint_again_without_a_step(
    micro_recipe: Recipe, micro_sounds: list[Sound], straight: Path
) -> None:
    said: list[str] = []
    before = tensors_of(straight, micro_recipe.architecture)
    assert {value.dtype.name for value in before.values()} == {"float16"}
    assert not [key for key in before if "heads" in key]  # those were for training only
    again = train_character(
        micro_recipe, begin(straight.parent, micro_recipe, micro_sounds, tell=said.append)
    )
    assert again == straight
    after = tensors_of(again, micro_recipe.architecture)
    assert all(np.array_equal(value, after[key]) for key, value in before.items())
    assert [line for line in said if line.endswith("done before")] == [
        "audio: done before",
        "unets: done before",
    ]


def test_the_folder_of_another_recipe_is_refused_with_both_names(
    begun: MakeControl, micro_recipe: Recipe
) -> None:
    with pytest.raises(StopTrainingError):
        train_character(micro_recipe, begun(stop=True))
    other = replace(micro_recipe, name="other", seed=2)
    with pytest.raises(
        SettingError, match=rf"'micro' \({micro_recipe.digest}\), not 'other' \({other.digest}\)"
    ):
        train_character(other, begun())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": "micro"}', "\ufffd"])
def test_a_folder_with_a_damaged_seal_is_refused(
    begun: MakeControl, micro_recipe: Recipe, text: str
) -> None:
    control = begun()
    (control.folder / "recipe.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"recipe\.json: does not say whose folder this is"):
        train_character(micro_recipe, control)


def test_the_seal_says_which_recipe(begun: MakeControl, micro_recipe: Recipe) -> None:
    control = begun(stop=True)
    with pytest.raises(StopTrainingError):
        train_character(micro_recipe, control)
    seal = json.loads((control.folder / "recipe.json").read_text(encoding="utf-8"))
    assert seal == {"recipe": "micro", "digest": micro_recipe.digest}


def test_a_folder_that_cannot_be_written_is_refused(micro_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    control = TrainingControl(tmp_path / "file" / "run", torch.device("cpu"), 1, print)
    with pytest.raises(OutputError, match=r"recipe\.json: cannot be written"):
        train_character(micro_recipe, control)


def test_damaged_sounds_are_named_and_not_made_anew(
    begun: MakeControl, micro_recipe: Recipe
) -> None:
    control = begun()
    (control.folder / "sounds-4-1.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"sounds-4-1\.npz: no readable sounds"):
        train_character(micro_recipe, control)


def test_without_speech_and_without_a_synthesizer_the_package_is_named(
    make_control: MakeControl, micro_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BackendError("espeak-ng is not installed")

    monkeypatch.setattr("echoexport.export.demo.speech.clips.speak", refuse)
    with pytest.raises(BackendError, match="espeak-ng"):
        train_character(micro_recipe, make_control())
