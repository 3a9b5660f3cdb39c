"""The whole training on a micro recipe: stopped and resumed, published, opened and run as any checkpoint."""

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

from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.demo.training.pictures import PicturePair
from echoexport.export.demo.training.publish import halve, publish_checkpoint
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.run import train_character
from echoexport.export.demo.training.saving import load_state
from echoexport.export.demo.training.session import Session, StopTrainingError
from echoexport.export.demo.training.sounds import Listener, Sound, write_sounds
from echoexport.export.demo.training.talking import Talker
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.golden import compute_golden
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.errors import BackendError, CheckpointError, InputError, OutputError, SettingError
from echoexport.runtime.spec import NETWORKS, SubnetSpec, describe_networks

MakeSession = Callable[..., Session]
Run = Callable[[nn.Module, SubnetSpec, dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture
def begun(make_session: MakeSession, micro_recipe: Recipe, micro_sounds: list[Sound]) -> MakeSession:
    """Sessions whose folders hold the speech already: these tests need no synthesizer."""

    def begin(name: str = "run", **changes: Any) -> Session:
        session = make_session(name, **changes)
        path = session.folder / f"sounds-{micro_recipe.voices}-{micro_recipe.seed}.npz"
        if not path.exists():
            write_sounds(path, micro_sounds)
        return session

    return begin


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tensors_of(folder: Path, architecture: Any) -> dict[str, np.ndarray]:
    opened = open_checkpoint(folder, "acc")
    found = {}
    for name in NETWORKS:
        weights = opened.weights(name, wanted_shapes(build_network(name, architecture)))
        found.update({f"{name}.{key}": tensor.read() for key, tensor in weights.items()})
    return found


def test_training_stopped_after_every_check_ends_with_the_same_checkpoint(
    begun: MakeSession, micro_recipe: Recipe
) -> None:
    straight = train_character(micro_recipe, begun("straight"))

    class Impatient(Session):
        """Over at every third look at the clock."""

        looks = 0

        @property
        def over(self) -> bool:
            self.looks += 1
            return self.looks % 12 == 0

    plain, stops, folder = begun("stopped"), 0, None
    while folder is None:
        try:
            folder = train_character(micro_recipe, Impatient(plain.folder, plain.device, plain.seed, print, workers=1))
        except StopTrainingError:
            stops += 1
            assert stops < 40
    assert stops >= 3
    one, other = (tensors_of(path, micro_recipe.architecture) for path in (straight, folder))
    assert one.keys() == other.keys()
    assert [key for key in one if not np.array_equal(one[key], other[key])] == []
    assert (begun("stopped").folder / "samples" / "unets-6-steps.png").is_file()


def test_a_deadline_in_the_past_saves_and_leaves_at_once(begun: MakeSession, micro_recipe: Recipe) -> None:
    session = begun(deadline=0.0)
    with pytest.raises(StopTrainingError, match="audio: stopped at step 0 of 4; state saved"):
        train_character(micro_recipe, session)
    assert (session.folder / "audio.state.pt").is_file()


@pytest.mark.parametrize(
    ("until", "left"), [("audio", ["audio.pt"]), ("vae", ["audio.pt", "vae-whitened.pt", "vae.pt"])]
)
def test_a_stage_can_be_the_last(begun: MakeSession, micro_recipe: Recipe, until: str, left: list[str]) -> None:
    session = begun(until=until)
    with pytest.raises(StopTrainingError, match=f"{until}: done, and no more was asked for"):
        train_character(micro_recipe, session)
    assert sorted(path.name for path in session.folder.glob("*.pt")) == left
    assert not list(session.folder.glob("*.parts"))


def test_a_finished_training_writes_its_checkpoint_again_without_a_step(
    begun: MakeSession, micro_recipe: Recipe
) -> None:
    folder = train_character(micro_recipe, begun())
    before, said = files_of(folder), []
    assert train_character(micro_recipe, begun(tell=said.append)) == folder
    after = files_of(folder)
    assert before.keys() == after.keys()
    assert [line for line in said if line.endswith("done before")] == ["audio: done before", "unets: done before"]


def test_the_folder_of_another_recipe_is_refused_with_both_names(begun: MakeSession, micro_recipe: Recipe) -> None:
    with pytest.raises(StopTrainingError):
        train_character(micro_recipe, begun(stop=True))
    other = replace(micro_recipe, name="other", seed=2)
    with pytest.raises(SettingError, match=rf"'micro' \({micro_recipe.digest}\), not 'other' \({other.digest}\)"):
        train_character(other, begun())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"recipe": "micro"}', "\ufffd"])
def test_a_folder_with_a_damaged_seal_is_refused(begun: MakeSession, micro_recipe: Recipe, text: str) -> None:
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


def test_damaged_sounds_are_named_and_not_made_anew(begun: MakeSession, micro_recipe: Recipe) -> None:
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


@pytest.fixture
def trained(micro_recipe: Recipe) -> dict[str, nn.Module]:
    """The six networks with random weights, readers shared as in training."""
    torch.manual_seed(5)
    a = micro_recipe.architecture
    talker, pair, listener = Talker(a), PicturePair(a.vae), Listener(a.audio)
    for module in (talker, pair, listener):
        for parameter in module.parameters():  # zeros would hide what is lost
            nn.init.normal_(parameter, std=0.2)
    modules = dict(pair.named_children()) | dict(talker.named_children()) | {"audio_encoder": listener.audio_encoder}
    return {name: module.eval().requires_grad_(False) for name, module in modules.items()}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_published_network_computes_what_the_trained_one_does(
    tmp_path: Path, micro_recipe: Recipe, trained: dict[str, nn.Module], network: str, run_torch: Run,
    random_inputs: Callable[[SubnetSpec, int], dict[str, np.ndarray]],
) -> None:  # fmt: skip
    folder = publish_checkpoint(tmp_path / "checkpoint", micro_recipe, modules=trained)
    opened = open_checkpoint(folder, "acc")
    assert opened.architecture == micro_recipe.architecture
    assert (opened.variant.shared_noise, opened.variant.noise_clamp, opened.variant.guidance) == (1.0, 1.5, 1.0)
    sizes = size_networks(opened.architecture, size=(16, 16), frames=3, face="mask")
    spec = describe_networks(sizes, precision="fp32")[network]
    inputs = random_inputs(spec, 3)
    weights = opened.weights(network, wanted_shapes(build_network(network, opened.architecture)))
    found = compute_golden(spec, opened.architecture, weights=weights, inputs=inputs)
    flat = build_network(network, micro_recipe.architecture, device="cpu")
    flat.load_state_dict({key: value.float() for key, value in halve(trained[network].state_dict()).items()})
    wanted = run_torch(flat, spec, inputs)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5 * np.abs(values).max())
        assert values.std() > 0


def test_the_published_networks_together_are_the_talker(
    tmp_path: Path, micro_recipe: Recipe, trained: dict[str, nn.Module]
) -> None:
    """Reference, mask and tokens through the separate networks give the velocity that was trained."""
    from echoexport.export.demo.training.scenes import Window

    talker = Talker(micro_recipe.architecture)
    for name, module in talker.named_children():
        load = {key: value.float() for key, value in halve(trained[name].state_dict()).items()}
        module.load_state_dict(load)
    opened = open_checkpoint(publish_checkpoint(tmp_path / "checkpoint", micro_recipe, modules=trained), "acc")
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    window = Window(draw(1, 4, 3, 8, 8), draw(1, 4, 8, 8), draw(1, 3, 20, 12), draw(1, 1, 16, 16), draw(1, 1, 1, 8, 8))
    sinusoids = draw(1, 8)
    with torch.no_grad():
        wanted = talker.eval()(window.latents, sinusoids, window)
        networks = {}
        for name in ("reference_unet", "landmark_encoder", "denoising_unet"):
            networks[name] = build_network(name, opened.architecture, device="cpu")
            weights = opened.weights(name, wanted_shapes(networks[name]))
            values = {key: torch.from_numpy(np.array(t.read(), np.float32)) for key, t in weights.items()}
            networks[name].load_state_dict(values)
        face = networks["landmark_encoder"](window.mask)[:, :, None]
        taps = networks["reference_unet"](window.reference)
        found = networks["denoising_unet"](window.latents, sinusoids, window.tokens, face, torch.ones(1), *taps)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_holds_fp16_and_nothing_of_what_was_only_for_training(
    begun: MakeSession, micro_recipe: Recipe
) -> None:
    session = begun()
    folder = train_character(micro_recipe, session)
    values = tensors_of(folder, micro_recipe.architecture)
    assert {value.dtype.name for value in values.values()} == {"float16"}
    assert not [key for key in values if "heads" in key]
    pair = PicturePair(micro_recipe.architecture.vae)
    load_state(pair, session.folder / "vae-whitened.pt")
    kept = pair.vae_encoder.state_dict()[
        "conv_in.weight" if "conv_in.weight" in pair.vae_encoder.state_dict() else "encoder.conv_in.weight"
    ]
    found = next(
        value for key, value in values.items() if key.startswith("vae_encoder.") and key.endswith("conv_in.weight")
    )
    np.testing.assert_array_equal(found, kept.half().numpy())


def test_halved_tensors_hold_nothing_but_their_own_values() -> None:
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    part = halve({"part": whole[:, 1]})["part"]
    assert part.tolist() == [1.0, 5.0, 9.0]
    assert (part.dtype, part.requires_grad, part.untyped_storage().nbytes()) == (torch.float16, False, 6)
