"""All stages in their order: speech, audio encoder, faces, VAE, scenes, UNets, checkpoint."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from echoexport.export.demo.speech.corpus import build_corpus, load_corpus
from echoexport.export.demo.speech.plans import plan_clips
from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.pictures import (
    Faces,
    PicturePair,
    measure_pair,
    picture_objective,
    whiten,
)
from echoexport.export.demo.training.publish import publish_checkpoint
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.saving import load_state, save_atomically
from echoexport.export.demo.training.scenes import Scenes, Window, WindowBatches
from echoexport.export.demo.training.sounds import (
    Listener,
    ListeningBatches,
    Sound,
    describe_sound,
    encode_sounds,
    listening_objective,
    read_sounds,
    write_sounds,
)
from echoexport.export.demo.training.stage import run_stage
from echoexport.export.demo.training.strips import write_rows
from echoexport.export.demo.training.talking import Talker, sample_window, talking_objective
from echoexport.export.subnets.audio_encoder import AudioEncoder
from echoexport.runtime.errors import CheckpointError, SettingError
from echoexport.runtime.files.aside import refuse_output, replaced_file
from echoexport.runtime.files.json_file import read_json

_UNSEEN_FACES = 500_000  # people who are in no training data; the quality gates' begin at a million
_UNSEEN_COUNT = 256
_STRIP = 6  # people in a sample strip


def train_character(recipe: Recipe, control: TrainingControl) -> Path:
    """Train everything that is not trained yet and write the checkpoint to ``<folder>/checkpoint``.

    Raises:
        StopTrainingError: the run's time is up, or it was asked to stop; run again
            to go on. SettingError: the folder belongs to another recipe. BackendError:
            there is no speech yet, and no espeak-ng to make it. OutputError: a file
            cannot be written. CheckpointError, InputError: a file of an earlier run is
            damaged.
    """
    _seal(recipe, control)
    # The networks' first weights; every step has a generator of its own.
    torch.manual_seed(recipe.seed)
    talker, pair, listener = _make_networks(recipe, control)
    sounds = _make_sounds(recipe, control)
    _train_listener(listener, sounds, recipe, control)
    control.leave_after("audio")
    _train_pair(pair, recipe, control)
    control.leave_after("vae")
    _train_talker(
        talker, pair, listener.audio_encoder, sounds=sounds, recipe=recipe, control=control
    )
    modules = {
        "audio_encoder": listener.audio_encoder,
        **dict(pair.named_children()),
        **dict(talker.named_children()),
    }
    folder = publish_checkpoint(control.folder / "checkpoint", recipe, modules=modules)
    control.tell(f"{folder}: written")
    return folder


def _seal(recipe: Recipe, control: TrainingControl) -> None:
    """A folder belongs to one recipe: the one that began it, by its name and every number in it."""
    path = control.folder / "recipe.json"
    if not path.exists():
        with replaced_file(path, parents=True, refuse=refuse_output) as aside:
            aside.write_text(
                json.dumps({"recipe": recipe.name, "digest": recipe.digest}) + "\n",
                encoding="utf-8",
            )
    try:
        found = read_json(path)
        name = found["recipe"]
        digest = found["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: does not say whose folder this is; name another with --folder"
        ) from error
    if digest != recipe.digest:
        raise SettingError(
            f"{control.folder}: begun with recipe {name!r} ({digest}), not {recipe.name!r} "
            f"({recipe.digest}) as it is "
            "now; name another with --folder, or empty this one"
        )


def _make_networks(
    recipe: Recipe, control: TrainingControl
) -> tuple[Talker, PicturePair, Listener]:
    """On the CPU first, so that the first weights do not depend on the device."""
    a = recipe.architecture
    networks = (Talker(a), PicturePair(a.vae), Listener(a.audio))
    for network in networks:
        network.to(control.device)
    return networks


def _make_sounds(recipe: Recipe, control: TrainingControl) -> list[Sound]:
    path = control.folder / f"sounds-{recipe.voices}-{recipe.seed}.npz"
    if not path.is_file():
        control.tell(f"speech: saying {recipe.voices} clips")
        folder = control.folder / "speech"
        plans = plan_clips(recipe.seed, recipe.voices)
        build_corpus(
            folder, plans=plans, workers=control.workers, report=partial(control.report, "speech")
        )
        write_sounds(
            path, [describe_sound(clip.samples, clip.states) for clip in load_corpus(folder)]
        )
    sounds = read_sounds(path)
    control.tell(
        f"speech: {len(sounds)} clips, {sum(s.rows for s in sounds) / 50 / 60:.1f} minutes"
    )
    return sounds


def _train_listener(
    listener: Listener, sounds: list[Sound], recipe: Recipe, control: TrainingControl
) -> None:
    batches = ListeningBatches(sounds, recipe.architecture.audio, device=control.device)
    objective = listening_objective(listener, batches, count=recipe.audio.batch, control=control)
    run_stage("audio", listener, objective, plan=recipe.audio, control=control)
    listener.eval().requires_grad_(False)


def _train_pair(pair: PicturePair, recipe: Recipe, control: TrainingControl) -> None:
    """The VAE's stage; its whitened latents are what the UNets' stage is about."""
    whitened = control.folder / "vae-whitened.pt"
    if whitened.is_file():
        load_state(pair, whitened)
    else:
        control.tell(f"faces: drawing {recipe.faces}")
        faces = Faces(recipe, first=0, count=recipe.faces, control=control)
        unseen = Faces(
            recipe, first=_UNSEEN_FACES, count=min(_UNSEEN_COUNT, recipe.faces), control=control
        )
        _fit_pair(pair, faces, unseen, recipe=recipe, control=control)
        whiten(pair, faces)
        save_atomically({"model": pair.state_dict()}, whitened)
        faces.drop()
        unseen.drop()
    pair.eval().requires_grad_(False)


def _fit_pair(
    pair: PicturePair, faces: Faces, unseen: Faces, *, recipe: Recipe, control: TrainingControl
) -> None:
    def look(_: nn.Module, step: int) -> None:
        figures = measure_pair(pair, unseen)
        control.tell(
            f"vae: unseen faces at {step}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items())
        )
        shown = unseen.pictures[:8].float() / 127.5 - 1
        write_rows(
            control.folder / "samples" / "vae.png",
            [shown, pair.vae_decoder(pair.vae_encoder(shown))],
        )

    objective = picture_objective(pair, faces, count=recipe.vae.batch, control=control)
    _lay_out(pair, torch.channels_last)  # quicker convolutions
    run_stage("vae", pair, objective, plan=recipe.vae, control=control, look=look)
    _lay_out(pair, torch.contiguous_format)


def _lay_out(modules: nn.Module, memory: torch.memory_format) -> None:
    modules.to(memory_format=memory)  # type: ignore[call-overload]


def _train_talker(
    talker: Talker,
    pair: PicturePair,
    encoder: AudioEncoder,
    *,
    sounds: list[Sound],
    recipe: Recipe,
    control: TrainingControl,
) -> None:
    """The UNets' stage."""
    scenes = Scenes(recipe, sounds, pair=pair, control=control)
    features = [
        encode_sounds(encoder, sounds, control=control, shifts=shifts, varied=varied)
        for shifts in (False, True)
        for varied in (False, True)
    ]
    batches = WindowBatches(scenes, features, recipe=recipe, control=control)
    shown = batches.draw(control.generator("shown"), _STRIP)

    def look(_: nn.Module, step: int) -> None:
        for steps in (6, 4):
            sampled = sample_window(talker, shown, steps=steps, seed=recipe.seed)
            error = (sampled - shown.latents).square().mean().sqrt()
            control.tell(
                f"unets: sampled windows of training at {step}, {steps} steps: latent rmse "
                f"{error:.4f}"
            )
            rows = [row for i in range(2) for row in _decode_rows(pair, shown, sampled, i)]
            write_rows(control.folder / "samples" / f"unets-{steps}-steps.png", rows)

    objective = talking_objective(talker, batches, recipe=recipe, control=control)
    run_stage("unets", talker, objective, plan=recipe.unets, control=control, look=look)


def _decode_rows(pair: PicturePair, shown: Window, sampled: Tensor, index: int) -> list[Tensor]:
    """The true frames of a window, and the sampled ones: (f, 3, H, W) each."""
    return [
        pair.vae_decoder(latents[index].transpose(0, 1)) for latents in (shown.latents, sampled)
    ]
