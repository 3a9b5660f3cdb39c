"""The audio stage: sounds kept in a file, and voices varied where there is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.sounds import (
    Listener,
    ListeningBatches,
    Sound,
    encode_sounds,
    listening_objective,
    read_sounds,
    states_at,
    vary_voice,
    write_sounds,
)
from echoexport.runtime.errors import InputError

MakeControl = Callable[..., TrainingControl]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_sounds_are_read_back_as_they_were(tmp_path: Path, micro_sounds: list[Sound]) -> None:
    write_sounds(tmp_path / "sounds.npz", micro_sounds)
    for sound, again in zip(micro_sounds, read_sounds(tmp_path / "sounds.npz"), strict=True):
        np.testing.assert_array_equal(again.mel, sound.mel)
        np.testing.assert_array_equal(again.states, sound.states)
        assert again.rows == sound.rows == sound.mel.shape[1] // 2
    assert [path.name for path in tmp_path.iterdir()] == ["sounds.npz"]


@pytest.mark.parametrize("cut", [0, 100, -30])
def test_damaged_sounds_are_refused_with_their_path(
    tmp_path: Path, micro_sounds: list[Sound], cut: int
) -> None:
    path = tmp_path / "sounds.npz"
    write_sounds(path, micro_sounds)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"sounds\.npz: no readable sounds .*remove it"):
        read_sounds(path)


def test_flipped_bytes_in_sounds_are_refused(tmp_path: Path, micro_sounds: list[Sound]) -> None:
    path = tmp_path / "sounds.npz"
    write_sounds(path, micro_sounds)
    content = bytearray(path.read_bytes())
    content[500:520] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"sounds\.npz: no readable sounds"):
        read_sounds(path)


def test_the_file_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "sounds.npz", other=np.zeros(3))
    with pytest.raises(InputError, match="mels"):
        read_sounds(tmp_path / "sounds.npz")


def test_batches_hold_clips_and_say_where_they_are(
    micro_recipe: Recipe, micro_sounds: list[Sound]
) -> None:
    batches = ListeningBatches(
        micro_sounds, micro_recipe.architecture.audio, device=torch.device("cpu")
    )
    mel, target, known = batches.draw(torch.Generator().manual_seed(2), 30)
    assert (mel.shape, target.shape, known.shape) == ((30, 80, 120), (30, 60, 8), (30, 60))
    silent = known == 0
    assert silent.any()
    assert not target[silent].any()
    assert not mel.transpose(1, 2)[silent.repeat_interleave(2, dim=1)].any()
    assert mel.transpose(1, 2)[~silent.repeat_interleave(2, dim=1)].any()
    again = batches.draw(torch.Generator().manual_seed(2), 30)
    assert torch.equal(again[0], mel)


def test_a_varied_voice_keeps_its_padding_and_its_range() -> None:
    generator = torch.Generator().manual_seed(3)
    mel = torch.rand(40, 80, 50, generator=generator) * 2 - 1
    known = torch.ones(40, 50)
    known[:, 40:] = 0
    mel[:, :, 40:] = 0
    varied = vary_voice(mel, known, generator)
    assert not varied[:, :, 40:].any()
    heard = varied[:, :, :40]
    assert torch.isfinite(heard).all()
    # Noise may rise above the peak.
    assert float((heard.amax(dim=(1, 2)) - heard.amin(dim=(1, 2))).max()) <= 2.0 + 0.5
    assert not torch.equal(varied, vary_voice(mel, known, generator))


def test_hearing_stops_when_the_run_is_over(
    micro_recipe: Recipe, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    encoder = Listener(micro_recipe.architecture.audio).audio_encoder
    with pytest.raises(StopTrainingError, match="voices heard: stopped at 0 of 4"):
        encode_sounds(
            encoder, micro_sounds, control=make_control(stop=True), shifts=False, varied=False
        )


def test_features_are_what_the_runtime_would_hear(
    micro_recipe: Recipe, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    from echoexport.runtime.conditioning.audio_tokens import encode_features

    torch.manual_seed(1)
    encoder = Listener(micro_recipe.architecture.audio).audio_encoder
    found = encode_sounds(encoder, micro_sounds, control=make_control(), shifts=False, varied=False)
    for sound, features in zip(micro_sounds, found, strict=True):
        with torch.no_grad():
            wanted = encode_features(
                sound.mel, lambda mel: encoder(torch.from_numpy(mel)).numpy(), context=60
            )
        np.testing.assert_allclose(features.float().numpy(), wanted, rtol=2e-3, atol=2e-3)


def test_clips_behind_others_are_heard_from_where_they_lie(
    micro_recipe: Recipe, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    torch.manual_seed(1)
    encoder = Listener(micro_recipe.architecture.audio).audio_encoder
    short = [Sound(sound.mel[:, :60], sound.states[:61]) for sound in micro_sounds]
    control = make_control()
    alone = encode_sounds(encoder, short, control=control, shifts=False, varied=False)
    later = encode_sounds(encoder, short, control=control, shifts=True, varied=False)
    segment = np.concatenate([short[3].mel, short[0].mel], axis=1)[None]
    with torch.no_grad():
        wanted = encoder(torch.from_numpy(segment))[0, :, 30:].transpose(0, 1).half()
    assert [tuple(features.shape) for features in later] == [(30, 2, 12)] * 4
    assert torch.equal(later[0], wanted)
    assert not torch.equal(later[0], alone[0])


def test_only_known_rows_count_in_the_loss(
    micro_recipe: Recipe, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    torch.manual_seed(1)
    a = micro_recipe.architecture.audio
    control = make_control()
    batches = ListeningBatches(micro_sounds, a, device=control.device)
    objective = listening_objective(Listener(a), batches, count=6, control=control)
    mel, target, known = objective.draw(control.generator("audio"))
    first, figures = objective.loss(mel, target, known)
    second, _ = objective.loss(mel, target + 9 * (1 - known[..., None]), known)
    assert float(first.detach()) == float(second.detach())
    assert figures["openness_mse"] > 0


def test_states_between_samples_lie_between_them(micro_sounds: list[Sound]) -> None:
    sound = micro_sounds[0]
    np.testing.assert_array_equal(states_at(sound, np.array([0.0, 0.05])), sound.states[[0, 5]])
    middle = states_at(sound, np.array([0.055]))
    np.testing.assert_allclose(middle[0], (sound.states[5] + sound.states[6]) / 2, rtol=1e-5)


def test_a_clip_is_heard_the_same_alone_and_later_but_for_its_place(
    micro_recipe: Recipe, micro_sounds: list[Sound], make_control: MakeControl
) -> None:
    from echoexport.export.demo.training.sounds import Listener

    torch.manual_seed(1)
    encoder = Listener(micro_recipe.architecture.audio).audio_encoder
    given = {"control": make_control(), "varied": False}
    short = [Sound(sound.mel[:, :60], sound.states[:61]) for sound in micro_sounds]
    alone, later = (
        encode_sounds(encoder, short, shifts=shifts, **given) for shifts in (False, True)
    )  # type: ignore[arg-type]
    assert [tuple(features.shape) for features in alone] == [(30, 2, 12)] * 4
    assert alone[0].dtype == torch.float16
    assert not torch.equal(alone[0], later[0])
