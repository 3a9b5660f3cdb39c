"""Where a build keeps what it found.

A folder for each network, the built-in character's set, and what layers cost.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from echoexport.calibration.choosing.layer_choice import ChoiceSettings, Known
from echoexport.calibration.choosing.sensitivity import Damage
from echoexport.calibration.plan import NetworkPlan
from echoexport.calibration.progress import NO_PROGRESS, ProgressFolder, make_key, prune_progress
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.export.build.settings import BuildSettings
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.errors import CalibrationError
from echoexport.runtime.files.temporary import temporary_folder
from echoexport.runtime.progress import Progress

__all__ = ["BuildProgress", "find_builtin_set", "keep_damage"]

_DAMAGE = "damage"


class BuildProgress:
    """The progress of one checkpoint, size and calibration set. ``folder`` None keeps nothing."""

    def __init__(self, folder: Path | None, float32: Manifest, digest: str) -> None:
        """``float32``: the fp32 bundle's manifest; ``digest``: the set's."""
        self._folder = folder
        self._manifest = float32
        self._digest = digest
        self._given: list[ProgressFolder] = []
        if folder is not None:
            prune_progress(folder)

    def of_network(self, name: str, settings: str) -> ProgressFolder:
        """The folder of one network under these settings of its ranges and policy."""
        if self._folder is None:
            return NO_PROGRESS
        entry = self._manifest.networks[name]
        files = self._manifest.files
        hashes = (files[entry.graph].sha256, files[entry.weights].sha256)
        given = ProgressFolder(
            self._folder / f"{name}-{make_key(name, *hashes, self._digest, settings)}"
        )
        self._given.append(given)
        return given

    def forget(self) -> None:
        """Remove every folder that was given: the build is in place."""
        for given in self._given:
            given.remove()


def keep_damage(progress: ProgressFolder, plan: NetworkPlan, settings: ChoiceSettings) -> Known:
    """What layers were found to cost under this very plan and sampling.

    Each new one is kept at once.
    """
    sampled = replace(settings, budget=0.0, measure_all=False)  # neither changes what a layer costs
    content = json.dumps([dump(plan), repr(sampled)], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    found = {}
    kept = progress.read(_DAMAGE)
    if kept is not None and kept["of"] == digest:
        found = {tuple(layers): float(error) for layers, error in kept["errors"]}

    def add(damage: Damage) -> None:
        found[damage.layers] = damage.error
        progress.write(
            _DAMAGE,
            {"of": digest, "errors": [[list(layers), one] for layers, one in found.items()]},
        )

    return Known(dict(found), add)


@contextmanager
def find_builtin_set(
    float32: Path, manifest: Manifest, settings: BuildSettings, *, report: Progress
) -> Iterator[CalibrationSet]:
    """The built-in character's set: recorded now, or taken from the progress folder.

    A recording goes on there.
    """
    from echoexport.calibration.recording.recording import record_set
    from echoexport.calibration.recording.recording_job import RecordingSettings
    from echoexport.export.demo.calibration_inputs import builtin_recording_inputs

    steps = settings.steps if settings.live_steps is None else manifest.sampler.most_steps
    sampling = RecordingSettings(steps=steps)
    with temporary_folder("set") as temporary:
        place = temporary / "set"
        if settings.progress is not None:
            weights = dict.fromkeys(entry.weights for entry in manifest.networks.values())
            hashes = [manifest.files[file].sha256 for file in weights]
            shape = repr(
                (manifest.picture, manifest.window, manifest.sampler, manifest.fps, sampling)
            )
            place = settings.progress / f"set-{make_key(*hashes, shape)}"
            if (kept := _open_kept(place, manifest)) is not None:
                yield kept
                return
        yield record_set(
            float32, builtin_recording_inputs(), place, settings=sampling, report=report
        )


def _open_kept(place: Path, manifest: Manifest) -> CalibrationSet | None:
    """A set that was recorded before; what is broken is removed."""
    if not place.exists():
        return None
    try:
        kept = open_set(place)
        kept.require_of(manifest)
    except CalibrationError as error:
        warnings.warn(f"recorded again: {error}", RuntimeWarning, stacklevel=2)
        shutil.rmtree(place, ignore_errors=True)
        return None
    return kept
