"""Moving people for the UNets' stage.

Latents of every frame, the portrait's, the face mask and the voice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from echoexport.export.demo.training.control import TrainingControl
from echoexport.export.demo.training.people import gather_people
from echoexport.export.demo.training.pictures import (
    PicturePair,
    draw_levels,
    fill_boxes,
    find_regions,
    weigh_regions,
)
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.saving import (
    drop_parts,
    make_in_parts,
    read_saved,
    save_atomically,
)
from echoexport.export.demo.training.sounds import Sound, states_at
from echoexport.export.demo.world.geometry import face_box
from echoexport.export.demo.world.state import STATE_WIDTH
from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_SECOND

_RATES = (25, 24, 25, 30)  # frames a second; a bundle may be rendered at any
_RESTING = 0.8  # of the portraits; the others are caught with their mouth open
_FIRST_PERSON = 100_000  # the VAE's faces come before, held-out people from a million on
_MASK_MARGIN = 0.1  # the pipeline grows a face box by this share on each side
# The feature rows that a frame hears, as in
# runtime.conditioning.audio_tokens.token_rows.
_ROWS_ABOUT = range(-4, 6)
_CHUNK = 40  # clips drawn at a time


@dataclass(frozen=True)
class MovingPerson:
    """One moving person: which voice from when, at how many frames a second.

    Drawn from the seed alone.
    """

    person: int
    sound: int
    start: float
    fps: int

    def times(self, frames: int) -> NDArray[np.float64]:
        """When each frame is, in seconds of its sound."""
        return self.start + np.arange(frames) / self.fps


@dataclass(frozen=True)
class Window:
    """A batch of windows."""

    latents: Tensor
    """(b, 4, f, h, w)."""
    reference: Tensor
    """The portrait's latents, (b, 4, h, w)."""
    tokens: Tensor
    """The voice, (b, f, tokens, width)."""
    mask: Tensor
    """Where the face is, (b, 1, H, W) in [0, 1]."""
    weights: Tensor
    """What each latent counts, (b, 1, 1, h, w)."""


def draw_moving_people(recipe: Recipe, sounds: list[Sound]) -> list[MovingPerson]:
    """A person for every clip, each with a stretch of some voice."""
    draw = np.random.Generator(np.random.PCG64(recipe.seed + 7))
    plans = []
    for i in range(recipe.clips):
        sound = int(draw.integers(len(sounds)))
        fps = _RATES[int(draw.integers(len(_RATES)))]
        longest = sounds[sound].rows / ROWS_PER_SECOND - recipe.clip_frames / fps
        plans.append(
            MovingPerson(_FIRST_PERSON + i, sound, float(draw.uniform(0, max(longest, 0.0))), fps)
        )
    return plans


class Scenes:
    """All clips on the device.

    Latents are drawn and encoded once, and kept in the run's folder.

    latents (clips, frames, 4, h, w) and references (clips, 4, h, w) in fp16; boxes
    (clips, 4) of the faces and regions (clips, 2, 4), as of :func:`find_regions`, in
    pixels.
    """

    def __init__(
        self, recipe: Recipe, sounds: list[Sound], *, pair: PicturePair, control: TrainingControl
    ) -> None:
        """Raises ``StopTrainingError`` when the run is over; what is drawn by then is kept."""
        self._recipe = recipe
        self._control = control
        self.plans = draw_moving_people(recipe, sounds)
        path = control.folder / f"scenes-{recipe.digest}.pt"
        if not path.is_file():
            control.tell(f"scenes: drawing {len(self.plans)} of {recipe.clip_frames} frames")
            save_atomically(self._draw_all(sounds, pair), path)
            drop_parts("scenes", control)
        kept = read_saved(path, device=control.device)
        self.latents = kept["latents"]
        self.references = kept["references"]
        self.boxes = kept["boxes"]
        self.regions = kept["regions"]

    def _draw_all(self, sounds: list[Sound], pair: PicturePair) -> dict[str, Tensor]:
        size = self._recipe.size
        control = self._control
        count = len(self.plans)
        seeds = range(_FIRST_PERSON, _FIRST_PERSON + count)
        everyone = gather_people(
            seeds, workers=control.workers, report=partial(control.report, "people")
        )

        def draw(part: slice) -> dict[str, Tensor]:
            return self._draw_part(self.plans[part], everyone[part], sounds=sounds, pair=pair)

        return {
            **make_in_parts("scenes", draw, count=count, part=_CHUNK, keep=True, control=control),
            "boxes": torch.from_numpy(np.asarray(face_box(everyone, size=size), np.float32)),
            "regions": torch.from_numpy(find_regions(everyone, size=size)),
        }

    @torch.no_grad()
    def _draw_part(
        self,
        plans: list[MovingPerson],
        people: NDArray[np.float32],
        *,
        sounds: list[Sound],
        pair: PicturePair,
    ) -> dict[str, Tensor]:
        """Some clips, of people (n, P): latents and references, on the CPU."""
        states = np.stack(
            [states_at(sounds[p.sound], p.times(self._recipe.clip_frames)) for p in plans]
        )
        frames = self._encode(
            np.repeat(people, states.shape[1], axis=0), states.reshape(-1, STATE_WIDTH), pair
        )
        latents = frames.reshape(len(plans), states.shape[1], *frames.shape[1:])
        return {
            "latents": latents.cpu(),
            "references": self._encode(people, portrait_states(plans), pair).cpu(),
        }

    def _encode(
        self, people: NDArray[np.float32], states: NDArray[np.float32], pair: PicturePair
    ) -> Tensor:
        """People (n, P) in states (n, 8) to fp16 latents (n, 4, h, w)."""
        levels = draw_levels(people, states, recipe=self._recipe, control=self._control)
        latents: Tensor = pair.vae_encoder(levels.float() / 127.5 - 1)
        return latents.half()


def portrait_states(plans: list[MovingPerson]) -> NDArray[np.float32]:
    """Most portraits are at rest; some people were caught speaking: (clips, 8)."""
    states = np.zeros((len(plans), STATE_WIDTH), np.float32)
    for i, plan in enumerate(plans):
        draw = np.random.Generator(np.random.PCG64(plan.person + 31))
        if draw.random() > _RESTING:
            states[i, 0] = draw.uniform(0, 0.7)
            states[i, 1] = draw.uniform(-0.7, 0.7)
    return states


def hear_rows(plan: MovingPerson, frames: int, rows: int) -> NDArray[np.int64]:
    """The ten feature rows that each frame of a clip hears, (frames, 10).

    The sound has ``rows`` of them. Each frame hears what the runtime lets a frame at
    that time hear, from the clip's start on.
    """
    first = plan.start * ROWS_PER_SECOND
    centres = [int(first + frame * ROWS_PER_SECOND / plan.fps + 1e-9) for frame in range(frames)]
    heard: NDArray[np.int64] = np.add.outer(np.array(centres, np.int64), np.array(_ROWS_ABOUT))
    return heard.clip(0, rows - 1)


class WindowBatches:
    """Draws windows from the scenes, with the tokens of their voices."""

    def __init__(
        self,
        scenes: Scenes,
        features: list[list[Tensor]],
        *,
        recipe: Recipe,
        control: TrainingControl,
    ) -> None:
        """``features`` are several readings of every sound, of which a window takes one.

        Each is (rows, layers + 1, width).
        """
        self._scenes = scenes
        self._recipe = recipe
        self._control = control
        table = [rows for reading in features for rows in reading]
        firsts = np.cumsum([0, *(len(rows) for rows in table[:-1])]).reshape(len(features), -1)
        self._features = torch.cat(table)
        self._rows = self._index_rows(firsts, [len(rows) for rows in features[0]])

    def _index_rows(self, firsts: NDArray[np.int64], lengths: list[int]) -> Tensor:
        """Rows of the feature table for each frame, (readings, clips, frames, 10).

        ``firsts`` (readings, sounds) says where a sound's rows begin in the table.
        """
        heard = [
            hear_rows(plan, self._recipe.clip_frames, lengths[plan.sound])
            for plan in self._scenes.plans
        ]
        sounds = [plan.sound for plan in self._scenes.plans]
        table = np.stack(heard) + firsts[:, sounds, None, None]
        return torch.from_numpy(table).to(self._control.device)

    def draw(self, generator: torch.Generator, count: int) -> Window:
        """``count`` windows of different people."""
        device = self._control.device
        scenes = self._scenes
        length = self._recipe.window
        size = self._recipe.size
        downscale = self._recipe.architecture.vae.downscale

        def pick(limit: int) -> Tensor:
            return torch.randint(limit, (count,), generator=generator, device=device)

        clip = pick(len(scenes.plans))
        start = pick(self._recipe.clip_frames - length + 1)
        reading = pick(len(self._rows))
        frames = start[:, None] + torch.arange(length, device=device)
        latents = scenes.latents[clip[:, None], frames].float().transpose(1, 2)
        rows = self._rows[reading[:, None], clip[:, None], frames]
        tokens = self._features[rows].float().flatten(2, 3)
        jitter = (torch.rand(count, 4, generator=generator, device=device) - 0.5) * 0.08
        mask = draw_masks(scenes.boxes[clip], jitter, size=size)
        weights = avg_pool2d(weigh_regions(scenes.regions[clip], size=size), downscale)
        return Window(latents, scenes.references[clip].float(), tokens, mask, weights[:, :, None])


def draw_masks(boxes: Tensor, jitter: Tensor, *, size: int) -> Tensor:
    """Masks of 0 and 1, (b, 1, H, W), of face boxes (b, 4) in pixels.

    The boxes are grown as the pipeline grows them. Each side lies further out by
    ``jitter`` (b, 4), a share of the box.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    low = boxes[:, :2] - sides * (_MASK_MARGIN + jitter[:, :2])
    high = boxes[:, 2:] + sides * (_MASK_MARGIN + jitter[:, 2:])
    return fill_boxes(torch.cat([low, high], dim=1), size=size)[:, None]
