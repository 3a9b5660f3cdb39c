"""Many clips made side by side and kept in a folder, so that a stopped build goes on."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.export.demo.speech.clips import SpeechClip, speak_clip
from echoexport.export.demo.speech.plans import ClipPlan
from echoexport.runtime.errors import InputError, OutputError, SettingError
from echoexport.runtime.files.aside import replaced_file

__all__ = ["SHARD_CLIPS", "build_corpus", "load_corpus"]

SHARD_CLIPS = 50
"""Clips of one file."""

_PATTERN = "speech-{:04d}.npz"


def build_corpus(
    folder: Path,
    *,
    plans: Sequence[ClipPlan],
    workers: int = 2,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make the plans' clips into a folder, ``workers`` at once.

    Shards already there for the same plans stay.

    Each sentence is said by a process of its own, so threads are enough here.
    ``report`` is told (clips done, all) after each shard. Shards beyond the plans' are
    removed: the folder holds these plans and nothing else.

    Raises ``OutputError`` for a folder that cannot be written, ``SettingError`` for
    less than one worker, and what ``speak_clip`` raises.
    """
    if workers < 1:
        raise SettingError(f"workers {workers}: at least 1 is needed")
    shards = [
        list(plans[start : start + SHARD_CLIPS]) for start in range(0, len(plans), SHARD_CLIPS)
    ]
    paths = [folder / _PATTERN.format(index) for index in range(len(shards))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in set(folder.glob("speech-*.npz")) - set(paths):
            stale.unlink()
        with ThreadPoolExecutor(workers) as pool:
            for index, (path, shard) in enumerate(zip(paths, shards, strict=True)):
                if not _holds_plans(path, shard):
                    _write_shard(path, list(pool.map(speak_clip, shard)))
                report(min((index + 1) * SHARD_CLIPS, len(plans)), len(plans))
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write the corpus ({error.strerror or error})"
        ) from error


def load_corpus(folder: Path) -> list[SpeechClip]:
    """All clips of a folder, in the order of their plans.

    Raises ``InputError``, naming the file that is damaged.
    """
    paths = sorted(folder.glob("speech-*.npz"))
    if not paths:
        raise InputError(f"{folder}: holds no speech; build it first")
    return [clip for path in paths for clip in _read_shard(path)]


def _write_shard(path: Path, clips: Sequence[SpeechClip]) -> None:
    arrays: dict[str, Any] = {
        "samples": np.concatenate([clip.samples for clip in clips]),
        "states": np.concatenate([clip.states for clip in clips]).astype(np.float16),
        "sample_counts": np.array([clip.samples.size for clip in clips]),
        "state_counts": np.array([len(clip.states) for clip in clips]),
        "plans": np.array([clip.plan.to_json() for clip in clips]),
    }
    with replaced_file(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def _holds_plans(path: Path, plans: Sequence[ClipPlan]) -> bool:
    """Whether a shard is there, whole, and made from just these plans."""
    try:
        return [clip.plan for clip in _read_shard(path)] == list(plans)
    except InputError:
        return False


def _read_shard(path: Path) -> list[SpeechClip]:
    try:
        with np.load(path, allow_pickle=False) as shard:
            plans = [ClipPlan.from_json(str(text)) for text in shard["plans"]]
            samples = np.split(shard["samples"], np.cumsum(shard["sample_counts"])[:-1])
            states = np.split(
                shard["states"].astype(np.float32), np.cumsum(shard["state_counts"])[:-1]
            )
            return [SpeechClip(*one) for one in zip(samples, states, plans, strict=True)]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        InputError,
    ) as error:
        raise InputError(
            f"{path}: no readable shard of speech ({error}); delete it and build again"
        ) from error
