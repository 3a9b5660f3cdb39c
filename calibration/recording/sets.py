"""A calibration set on disk: what it says of itself, and its samples one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.recording.set_manifest import (
    SET_FORMAT,
    SET_SCHEMA,
    SetManifest,
    describe_source,
)
from echoexport.calibration.sample import Sample
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.schema import parse
from echoexport.runtime.errors import CalibrationError, UnknownNameError
from echoexport.runtime.files.json_file import read_json
from echoexport.runtime.files.staging import hide_name

SET_NAME = "set.json"
ARRAYS = "arrays"
NAME_DIGITS = 32
"""Hex digits of a file's sha256 that are its name."""

_NAME = re.compile(rf"[0-9a-f]{{{NAME_DIGITS}}}")
_AGAIN = "record it again: echoexport calibrate"


@dataclass(frozen=True)
class CalibrationSet:
    """A set whose files are as they were written."""

    folder: Path
    manifest: SetManifest

    @property
    def digest(self) -> str:
        """sha256 that stands for the set: the same inputs and seed give the same."""
        return self.manifest.digest

    @property
    def steps(self) -> int:
        """Steps of the trajectories."""
        return self.manifest.sampling.steps

    def count(self, network: str) -> int:
        """How many samples of a network there are.

        Raises UnknownNameError for a name that is none's.
        """
        known = self.manifest.source.weights
        if network not in known:
            raise UnknownNameError("network", network, known=known)
        return self.manifest.counts.get(network, 0)

    def samples(self, network: str) -> Iterator[Sample]:
        """A network's samples in their fixed order, each read when it is asked for.

        Raises:
            UnknownNameError: no such network.
            CalibrationError: an array cannot be read any more.
        """
        self.count(network)
        return self._read_samples(network)

    def _read_samples(self, network: str) -> Iterator[Sample]:
        for entry in self.manifest.samples:
            if entry.network == network:
                yield Sample(
                    network=network,
                    inputs={name: self._read_array(array) for name, array in entry.inputs.items()},
                    portrait=entry.portrait,
                    voice=entry.voice,
                    step=entry.step,
                    steps=None if entry.step is None else self.steps,
                    timestep=entry.timestep,
                    window=entry.window,
                )

    def require_of(self, manifest: Manifest) -> None:
        """Refuse a set that was not recorded from this bundle's checkpoint and sizes.

        Variant, size and window must be the bundle's. An fp16 bundle is known by the
        checkpoint's files; an fp32 one by its weights too.

        Raises:
            CalibrationError: says what differs.
        """
        ours = self.manifest.source
        theirs = describe_source(manifest)
        for what in ("variant", "face", "width", "height", "frames"):
            mine = getattr(ours, what)
            other = getattr(theirs, what)
            if mine != other:
                raise CalibrationError(
                    f"{self.folder}: recorded with {what} {mine}, the bundle has {other}; {_AGAIN}"
                )
        same_files = bool(ours.checkpoint_files) and dict(ours.checkpoint_files) == dict(
            theirs.checkpoint_files
        )
        if same_files or dict(ours.weights) == dict(theirs.weights):
            return
        changed = [
            name for name, digest in ours.weights.items() if theirs.weights.get(name) != digest
        ]
        raise CalibrationError(
            f"{self.folder}: recorded from another checkpoint ({ours.checkpoint}; the weights "
            f"of {changed[0]} are not "
            f"those of {theirs.checkpoint}); {_AGAIN}"
        )

    def _read_array(self, name: str) -> NDArray[np.float32]:
        path = find_array(self.folder, name)
        try:
            with path.open("rb") as file:
                array: NDArray[np.float32] = np.load(file, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise CalibrationError(f"{path}: cannot be read: {error}; {_AGAIN}") from error
        return array


def find_array(folder: Path, name: str) -> Path:
    """Where an array's file is."""
    return folder / ARRAYS / f"{name}.npy"


def open_set(folder: Path) -> CalibrationSet:
    """Open a set, every file of it hashed.

    Raises:
        CalibrationError: missing, empty, of another release, or not as it was written;
            names the file.
    """
    path = folder / SET_NAME
    data = _read_json(path)
    if not isinstance(data, dict) or data.get("format") != SET_FORMAT:
        raise CalibrationError(
            f"{path}: not the description of a calibration set; echoexport calibrate records one"
        )
    if data.get("schema") != SET_SCHEMA:
        raise CalibrationError(
            f"{path}: schema {data.get('schema')!r}; this release reads {SET_SCHEMA}; {_AGAIN}"
        )
    digest = data.pop("digest", None)
    try:
        manifest = parse(SetManifest, data, where="set")
    except ValueError as error:
        raise CalibrationError(f"{path}: {error}; {_AGAIN}") from error
    if digest != manifest.digest:
        raise CalibrationError(
            f"{path}: its digest is not that of its content: it was changed; {_AGAIN}"
        )
    _check_samples(path, manifest)
    for name in manifest.arrays:
        check_array(folder, name, size=manifest.arrays[name])
    return CalibrationSet(folder, manifest)


def read_manifest_files(folder: Path) -> set[str] | None:
    """Files of the set in a folder, as paths inside; None where it holds no set.

    Any release may have written it.
    """
    try:
        data: Any = read_json(folder / SET_NAME)
    except (OSError, ValueError):
        return None
    if (
        not isinstance(data, dict)
        or data.get("format") != SET_FORMAT
        or not isinstance(data.get("arrays"), dict)
    ):
        return None
    return {SET_NAME, *(f"{ARRAYS}/{name}.npy" for name in data["arrays"])}


def check_array(folder: Path, name: str, *, size: int) -> None:
    """An array's file against its size and its name.

    Raises:
        CalibrationError: missing, cut, or with other content.
    """
    path = find_array(folder, name)
    try:
        found = path.stat().st_size
        if found != size:
            raise CalibrationError(
                f"{path}: {found} bytes, wanted {size}: copy the set again, or {_AGAIN}"
            )
        if not hash_file(path).startswith(name):
            raise CalibrationError(
                f"{path}: damaged, its sha256 is not its name; copy the set again, or {_AGAIN}"
            )
    except OSError as error:
        raise CalibrationError(
            f"{path}: cannot be read: {error.strerror or error}; copy the set again, or {_AGAIN}"
        ) from error


def name_part(output: Path) -> Path:
    """Where a set lies while it is recorded: hidden, beside its place."""
    return output.parent / hide_name(output.name, ".part")


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError as error:
        if name_part(path.parent).is_dir():
            raise CalibrationError(
                f"{path.parent}: its recording was interrupted; the same echoexport calibrate "
                "command finishes it"
            ) from error
        raise CalibrationError(
            f"{path}: no such file; echoexport calibrate records a set"
        ) from error
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CalibrationError(f"{path}: not readable JSON: {error}; {_AGAIN}") from error


def _check_samples(path: Path, manifest: SetManifest) -> None:
    """What a digest does not promise where somebody else made it."""
    if not manifest.samples:
        raise CalibrationError(f"{path}: the set is empty; {_AGAIN} with more portraits or voices")
    for name, size in manifest.arrays.items():
        if not _NAME.fullmatch(name) or size < 1:
            raise CalibrationError(
                f"{path}: array {name[:60]!r} of {size} bytes is none that a recording writes"
            )
    for index, entry in enumerate(manifest.samples):
        if entry.network not in manifest.source.weights:
            raise CalibrationError(
                f"{path}: sample {index}: unknown network {entry.network[:60]!r}"
            )
        lost = [name for name, array in entry.inputs.items() if array not in manifest.arrays]
        if lost or not entry.inputs:
            raise CalibrationError(
                f"{path}: sample {index} of {entry.network}: no array for {lost or 'any input'}"
            )
    counts = {
        name: sum(entry.network == name for entry in manifest.samples) for name in manifest.counts
    }
    if counts != dict(manifest.counts) or sum(counts.values()) != len(manifest.samples):
        raise CalibrationError(
            f"{path}: counts {dict(manifest.counts)} are not those of its samples; {_AGAIN}"
        )
    if manifest.sampling.steps < 1:
        raise CalibrationError(f"{path}: {manifest.sampling.steps} steps; {_AGAIN}")
