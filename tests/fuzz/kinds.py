"""The kinds of input: honest seeds of each, how it is damaged, what reads it."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fuzz import bundles, commands, media_seeds, readers, weight_seeds
from fuzz.commands import Workplace
from fuzz.mutations import mutate_bytes, mutate_json
from fuzz.wrapped import mutate_archive, mutate_picture, mutate_sound, mutate_table


class Mutate(Protocol):
    """A damage: the same for the same numbers."""

    def __call__(self, content: bytes, draw: random.Random, *, others: Sequence[bytes]) -> bytes:
        """What comes of it; ``others`` are all seeds of the kind."""


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate
    read: Callable[[bytes, Path], str]
    """Of the content, in a folder to work in; gives a digest of what came out.

    Raises ``EchoExportError`` for what cannot be used."""
    command: Callable[[Workplace, Path], list[str]] | None = None
    """The words of a whole command that reads the input from a file, which may be moved."""
    built: bool = False
    """Whether the command does a minute's work with what it accepts."""
    partial: bool = False
    """Whether the command looks at less of the input than ``read`` does."""
    judged: bool = False
    """Whether what is accepted must be what the seed gives."""


KINDS: dict[str, Kind] = {
    "pictures": Kind(
        media_seeds.make_pictures,
        mutate_picture,
        readers.read_picture_file,
        commands.name_picture,
    ),
    "sounds": Kind(
        media_seeds.make_sounds, mutate_sound, readers.read_sound_file, commands.name_sound
    ),
    **{
        f"face-models-{engine}": Kind(
            functools.partial(media_seeds.make_face_models, package),
            mutate_archive,
            functools.partial(readers.read_face_model, engine=engine),
            commands.name_face_model if engine == "openvino" else None,
        )
        for engine, package in (("openvino", "openvino"), ("litert", "ai_edge_litert"))
    },
    "poses": Kind(
        weight_seeds.make_landmark_arrays,
        mutate_bytes,
        readers.read_pose_file,
        commands.name_poses,
    ),
    "pose-folders": Kind(
        weight_seeds.make_landmark_files,
        mutate_bytes,
        readers.read_pose_folder,
        commands.name_pose_folder,
    ),
    "pth": Kind(
        functools.partial(weight_seeds.make_torch_files, new=True),
        mutate_archive,
        readers.read_weights,
        commands.name_weights,
        built=True,
    ),
    "old-pth": Kind(
        functools.partial(weight_seeds.make_torch_files, new=False),
        mutate_bytes,
        readers.read_weights,
        commands.name_weights,
        built=True,
    ),
    "safetensors": Kind(
        weight_seeds.make_safetensors,
        mutate_table,
        readers.read_weights,
        commands.name_weights,
        built=True,
    ),
    "manifests": Kind(
        bundles.make_manifests,
        mutate_json,
        bundles.read_manifest_file,
        bundles.name_manifest,
        partial=True,
        judged=True,
    ),
    "sealed-manifests": Kind(
        bundles.make_manifests,
        bundles.mutate_sealed,
        bundles.read_manifest_file,
        bundles.name_manifest,
        partial=True,
    ),
    "graphs": Kind(bundles.make_graphs, mutate_bytes, bundles.read_graph),
    "cache-entries": Kind(
        bundles.make_entries, mutate_bytes, bundles.read_cache_entry, judged=True
    ),
}


def make_input(kind: Kind, seeds: Sequence[bytes], *, seed: int, index: int) -> tuple[int, bytes]:
    """The mutation of a number: which seed it is of, and its content."""
    draw = random.Random(f"{seed} {index}")
    number = draw.randrange(len(seeds))
    return number, kind.mutate(seeds[number], draw, others=seeds)
