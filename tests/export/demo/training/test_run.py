"""The whole training on a micro recipe.

Stopped and resumed, published, opened and run as any checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.demo.training.pictures import PicturePair
from echoexport.export.demo.training.publish import halve, publish_checkpoint
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.run import train_character
from echoexport.export.demo.training.session import Session, StopTrainingError
from echoexport.export.demo.training.sounds import Listener, Sound, write_sounds
from echoexport.export.demo.training.talking import Talker
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.golden import compute_golden
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.contract.families.echomimic_v1 import NETWORKS, describe_networks
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.errors import (
    BackendError,
    CheckpointError,
    InputError,
    OutputError,
    SettingError,
)

MakeSession = Callable[..., Session]
pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[[nn.Module, SubnetSpec, dict[str, np.ndarray]], dict[str, np.ndarray]]


def begin(folder: Path, recipe: Recipe, sounds: list[Sound], **changes: Any) -> Session:
    """A session whose folder holds the speech already: these tests need no synthesizer."""
    folder.mkdir(exist_ok=True)
    path = folder / f"sounds-{recipe.voices}-{recipe.seed}.npz"
    if not path.exists():
        write_sounds(path, sounds)
    return Session(
        folder,
        torch.device("cpu"),
        recipe.seed,
        **{"tell": lambda line: None, "workers": 1, **changes},
    )


@pytest.fixture
def begun(tmp_path: Path, micro_recipe: Recipe, micro_sounds: list[Sound]) -> MakeSession:
    """A function that gives such a session; for the same name the same folder."""
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
    """The checkpoint of a training that nobody stopped; its parent is the session's folder."""
    return train_character(
        micro_recipe, begin(tmp_path_factory.mktemp("straight"), micro_recipe, micro_sounds)
    )


def tensors_of(folder: Path, architecture: Any) -> dict[str, np.ndarray]:
    opened = open_checkpoint(folder, "acc")
    found = {}
    for name in NETWORKS:
        weights = opened.weights(name, wanted_shapes(build_network(name, architecture)))
        found.update({f"{name}.{key}": tensor.read() for key, tensor in weights.items()})
    return found


class Impatient(Session):
    """Over once it has been asked ``patience`` times."""

    patience = 0

    @property
    def over(self) -> bool:
        self.patience -= 1
        return self.patience < 0


def test_training_stopped_in_every_stage_ends_with_the_same_checkpoint(
    begun: MakeSession, micro_recipe: Recipe, straight: Path
) -> None:
    plain = begun("stopped")
    stopped = []
    folder = None
    for patience in (2, 6, 5, 5, 9, 17, 99):
        session = Impatient(plain.folder, plain.device, plain.seed, print, workers=1)
        session.patience = patience
        try:
            folder = train_character(micro_recipe, session)
        except StopTrainingError as stop:
            stopped.append(str(stop).partition(":")[0])
    assert set(stopped) >= {"audio", "vae", "voices heard", "unets"}
    assert folder is not None
    one, other = (tensors_of(path, micro_recipe.architecture) for path in (straight, folder))
    assert one.keys() == other.keys()
    assert [key for key in one if not np.array_equal(one[key], other[key])] == []
    assert (plain.folder / "samples" / "unets-6-steps.png").is_file()


def test_a_deadline_in_the_past_saves_and_leaves_at_once(
    begun: MakeSession, micro_recipe: Recipe
) -> None:
    session = begun(deadline=0.0)
    with pytest.raises(StopTrainingError, match="audio: stopped at step 0 of 4; state saved"):
        train_character(micro_recipe, session)
    assert (session.folder / "audio.state.pt").is_file()


@pytest.mark.parametrize(
    ("until", "left"), [("audio", ["audio.pt"]), ("vae", ["audio.pt", "vae-whitened.pt", "vae.pt"])]
)
def test_a_stage_can_be_the_last(
    begun: MakeSession, micro_recipe: Recipe, until: str, left: list[str]
) -> None:
    session = begun(until=until)
    with pytest.raises(StopTrainingError, match=f"{until}: done, and no more was asked for"):
        train_character(micro_recipe, session)
    assert sorted(path.name for path in session.folder.glob("*.pt")) == left
    assert not list(session.folder.glob("*.parts"))


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
    begun: MakeSession, micro_recipe: Recipe
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
    begun: MakeSession, micro_recipe: Recipe, text: str
) -> None:
    session = begun()
    (session.folder / "recipe.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"recipe\.json: does not say whose folder this is"):
        train_character(micro_recipe, session)


def test_the_seal_says_which_recipe(begun: MakeSession, micro_recipe: Recipe) -> None:
    session = begun(stop=True)
    with pytest.raises(StopTrainingError):
        train_character(micro_recipe, session)
    seal = json.loads((session.folder / "recipe.json").read_text(encoding="utf-8"))
    assert seal == {"recipe": "micro", "digest": micro_recipe.digest}


def test_a_folder_that_cannot_be_written_is_refused(micro_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    session = Session(tmp_path / "file" / "run", torch.device("cpu"), 1, print)
    with pytest.raises(OutputError, match=r"recipe\.json: cannot be written"):
        train_character(micro_recipe, session)


def test_damaged_sounds_are_named_and_not_made_anew(
    begun: MakeSession, micro_recipe: Recipe
) -> None:
    session = begun()
    (session.folder / "sounds-4-1.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"sounds-4-1\.npz: no readable sounds"):
        train_character(micro_recipe, session)


def test_without_speech_and_without_a_synthesizer_the_package_is_named(
    make_session: MakeSession, micro_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BackendError("espeak-ng is not installed")

    monkeypatch.setattr("echoexport.export.demo.speech.clips.speak", refuse)
    with pytest.raises(BackendError, match="espeak-ng"):
        train_character(micro_recipe, make_session())


@pytest.fixture(scope="module")
def trained(micro_recipe: Recipe) -> dict[str, nn.Module]:
    """The six networks with random weights, readers shared as in training."""
    torch.manual_seed(5)
    a = micro_recipe.architecture
    talker = Talker(a)
    pair = PicturePair(a.vae)
    listener = Listener(a.audio)
    for module in (talker, pair, listener):
        for parameter in module.parameters():  # zeros would hide what is lost
            nn.init.normal_(parameter, std=0.2)
    modules = (
        dict(pair.named_children())
        | dict(talker.named_children())
        | {"audio_encoder": listener.audio_encoder}
    )
    return {name: module.eval().requires_grad_(False) for name, module in modules.items()}


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, micro_recipe: Recipe, trained: dict[str, nn.Module]
) -> Checkpoint:
    """The checkpoint of these networks, opened."""
    folder = publish_checkpoint(
        tmp_path_factory.mktemp("published") / "checkpoint", micro_recipe, modules=trained
    )
    return open_checkpoint(folder, "acc")


def test_a_published_checkpoint_says_what_it_is(
    published: Checkpoint, micro_recipe: Recipe
) -> None:
    assert published.architecture == micro_recipe.architecture
    sampler = published.variant
    assert (sampler.shared_noise, sampler.noise_clamp, sampler.guidance, sampler.steps) == (
        1.0,
        1.5,
        1.0,
        6,
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_a_published_network_computes_what_the_trained_one_does(
    published: Checkpoint,
    micro_recipe: Recipe,
    trained: dict[str, nn.Module],
    network: str,
    run_torch: Run,
    random_inputs: Callable[[SubnetSpec, int], dict[str, np.ndarray]],
) -> None:
    opened = published
    sizes = size_networks(opened.architecture, size=(16, 16), frames=3, face="mask")
    spec = describe_networks(sizes, precision="fp32")[network]
    inputs = random_inputs(spec, 3)
    weights = opened.weights(network, wanted_shapes(build_network(network, opened.architecture)))
    found = compute_golden(spec, opened.architecture, weights=weights, inputs=inputs)
    flat = build_network(network, micro_recipe.architecture, device="cpu")
    flat.load_state_dict(
        {key: value.float() for key, value in halve(trained[network].state_dict()).items()}
    )
    wanted = run_torch(flat, spec, inputs)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5 * np.abs(values).max())
        assert values.std() > 0


def test_the_published_networks_together_are_the_talker(
    published: Checkpoint, micro_recipe: Recipe, trained: dict[str, nn.Module]
) -> None:
    """Reference, mask and tokens through separate networks give the trained velocity."""
    from echoexport.export.demo.training.scenes import Window

    talker = Talker(micro_recipe.architecture)
    for name, module in talker.named_children():
        load = {key: value.float() for key, value in halve(trained[name].state_dict()).items()}
        module.load_state_dict(load)
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    window = Window(
        draw(1, 4, 3, 8, 8),
        draw(1, 4, 8, 8),
        draw(1, 3, 20, 12),
        draw(1, 1, 16, 16),
        draw(1, 1, 1, 8, 8),
    )
    sinusoids = draw(1, 8)
    with torch.no_grad():
        wanted = talker.eval()(window.latents, sinusoids, window)
        networks = {}
        for name in ("reference_unet", "landmark_encoder", "denoising_unet"):
            networks[name] = build_network(name, published.architecture, device="cpu")
            weights = published.weights(name, wanted_shapes(networks[name]))
            values = {
                key: torch.from_numpy(np.array(t.read(), np.float32)) for key, t in weights.items()
            }
            networks[name].load_state_dict(values)
        face = networks["landmark_encoder"](window.mask)[:, :, None]
        taps = networks["reference_unet"](window.reference)
        found = networks["denoising_unet"](
            window.latents, sinusoids, window.tokens, face, torch.ones(1), *taps
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_halved_tensors_hold_nothing_but_their_own_values() -> None:
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    part = halve({"part": whole[:, 1]})["part"]
    assert part.tolist() == [1.0, 5.0, 9.0]
    assert (part.dtype, part.requires_grad, part.untyped_storage().nbytes()) == (
        torch.float16,
        False,
        6,
    )
