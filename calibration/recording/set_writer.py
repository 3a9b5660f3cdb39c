"""Writes a calibration set beside its place, and puts it there when it is whole.

Each rendering is kept as it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.recording.set_manifest import SampleEntry, SetManifest, encode_manifest
from echoexport.calibration.recording.sets import (
    ARRAYS,
    NAME_DIGITS,
    SET_NAME,
    check_array,
    find_array,
    name_part,
    read_manifest_files,
)
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import CalibrationError, OutputError
from echoexport.runtime.files.aside import check_output, replaced_file, take_place
from echoexport.runtime.files.json_file import read_json

_STATE = "state.json"
_DONE = "done"
_SPARE_BYTES = 64 * 2**20  # of the disk, left to everybody else


@dataclass(frozen=True)
class DoneRendering:
    """What one rendering gave."""

    samples: Mapping[str, SampleEntry]
    """By their place in the set."""
    arrays: Mapping[str, int]
    """Bytes of each array, by name."""


class SetWriter:
    """The folder ``.NAME.part`` beside the output, which outlives an interrupt.

    ``done`` holds the renderings that are whole, by number: those of an earlier run
    that had the same ``fingerprint``, and those added since. What another run left is
    removed.
    """

    def __init__(self, output: Path, *, fingerprint: str) -> None:
        """Open the folder, or make it.

        Raises:
            OutputError: the output is anything but new, empty or a set, or cannot be
                written.
        """
        self.output = Path(os.path.realpath(output))
        self.part = name_part(self.output)
        self._sizes: dict[str, int] = {}
        check_set_place(self.output)
        with _told_as_output(self.output):
            self._open(fingerprint)
            self.done = dict(self._find_done())

    def require_room(self, need: int) -> None:
        """Refuse to start what the disk cannot hold; ``need`` is the bytes of the whole set.

        Raises:
            OutputError: says how much is wanted and free.
        """
        there = sum(sum(done.arrays.values()) for done in self.done.values())
        wanted = max(need - there, 0)
        free = shutil.disk_usage(self.part).free
        if wanted + _SPARE_BYTES > free:
            raise OutputError(
                f"{self.output}: the set may take {wanted / 1e6:.0f} MB, the disk has "
                f"{free / 1e6:.0f} MB free; make "
                "room, lower the number of samples or the megabytes, or name another disk"
            )

    def drop_if_empty(self) -> None:
        """Leave nothing beside the output where no rendering is whole yet."""
        if not self.done:
            shutil.rmtree(self.part, ignore_errors=True)

    def write_array(self, array: NDArray[np.float32]) -> str:
        """Keep an array, once however often it comes; gives its name."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array, np.float32), allow_pickle=False)
        content = buffer.getvalue()
        name = hashlib.sha256(content).hexdigest()[:NAME_DIGITS]
        if name not in self._sizes:
            with _told_as_output(self.output):
                _write_whole(find_array(self.part, name), content)
            self._sizes[name] = len(content)
        return name

    def finish_rendering(self, number: int, samples: Mapping[int, SampleEntry]) -> None:
        """Say that a rendering's samples, by their place in the set, are all written."""
        used = {name for sample in samples.values() for name in sample.inputs.values()}
        done = DoneRendering(
            {str(place): sample for place, sample in samples.items()},
            {name: self._sizes[name] for name in sorted(used)},
        )
        with _told_as_output(self.output):
            _write_whole(self.part / _DONE / f"{number}.json", json.dumps(dump(done)).encode())
        self.done[number] = done

    def list_samples(self) -> tuple[tuple[SampleEntry, ...], dict[str, int]]:
        """All samples in the set's order, and the bytes of each array that they name."""
        places = {
            int(place): sample
            for done in self.done.values()
            for place, sample in done.samples.items()
        }
        arrays = {name: size for done in self.done.values() for name, size in done.arrays.items()}
        return tuple(places[place] for place in sorted(places)), dict(sorted(arrays.items()))

    def publish(self, manifest: SetManifest) -> None:
        """Put the set where it belongs, in place of an older one.

        Nothing of the recording is left beside it.

        Raises:
            OutputError: it cannot be written.
        """
        with _told_as_output(self.output):
            for path in (self.part / ARRAYS).iterdir():
                if path.suffix != ".npy" or path.stem not in manifest.arrays:
                    path.unlink()
            _write_whole(self.part / SET_NAME, encode_manifest(manifest))
            shutil.rmtree(self.part / _DONE)
            for path in (self.part / _STATE, *self.part.glob("*.part-*")):
                path.unlink()  # the state, and what a killed process was writing
            take_place(self.part, self.output)

    def _open(self, fingerprint: str) -> None:
        state = self.part / _STATE
        wanted = json.dumps({"fingerprint": fingerprint})
        if self.part.exists():
            if state.is_file() and state.read_text(encoding="utf-8") == wanted:
                return
            _remove_part(self.part)
        (self.part / ARRAYS).mkdir(parents=True)
        (self.part / _DONE).mkdir()
        _write_whole(state, wanted.encode())

    def _find_done(self) -> Iterator[tuple[int, DoneRendering]]:
        """Renderings whose every array is still as it was written.

        A power cut may have spoilt some.
        """
        for path in (self.part / _DONE).glob("*.json"):
            try:
                done = parse(DoneRendering, read_json(path), where="done")
                for name, size in done.arrays.items():
                    if name not in self._sizes:
                        check_array(self.part, name, size=size)
                        self._sizes[name] = size
            except (ValueError, CalibrationError):
                path.unlink()
                continue
            yield int(path.stem), done


@contextmanager
def recorded_alone(output: Path) -> Iterator[None]:
    """Nobody else records the set ``output`` meanwhile; the system lets go of it with the process.

    Raises:
        OutputError: another recording of it is at work, or its folder cannot be made.
    """
    part = name_part(Path(os.path.realpath(output)))
    with _told_as_output(output):
        held = _lock(part, output)
    try:
        yield
    finally:
        if _is_there(held, part):
            with suppress(OSError):
                part.rmdir()  # where nothing came into it
        os.close(held)


def check_set_place(output: Path) -> None:
    """Refuse to replace anything that is not a set, or a set that other files were put into.

    Raises:
        OutputError: what is there must stay.
    """
    check_output(output, read_manifest_files, what="set")


def count_samples(samples: Sequence[SampleEntry]) -> dict[str, int]:
    """How many there are of each network, in the order in which networks first come."""
    return {
        name: sum(s.network == name for s in samples)
        for name in dict.fromkeys(s.network for s in samples)
    }


@contextmanager
def _told_as_output(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{output}: cannot write the set: {error.strerror or error}") from error


def _lock(part: Path, output: Path) -> int:
    """A locked descriptor of the folder itself, so that no other file is left.

    A set takes its lock to its place.
    """
    while True:
        part.mkdir(parents=True, exist_ok=True)
        held = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise OutputError(
                f"{output}: another recording of it is at work; wait, or name another folder"
            ) from None
        except OSError:
            return held  # a file system without locks
        if _is_there(held, part):
            return held
        # The one before put its set in place, or took its folder away, since this one
        # was opened.
        os.close(held)


def _is_there(held: int, part: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(held), part.stat())
    return False


def _remove_part(part: Path) -> None:
    """Remove what another recording left, and nothing else.

    The folder itself, which is locked, stays.
    """
    known = {ARRAYS, _DONE, _STATE, SET_NAME}
    strangers = [path.name for path in part.iterdir() if path.name.split(".part-")[0] not in known]
    if strangers:
        raise OutputError(
            f"{part / strangers[0]}: not of an earlier recording, which would be removed; move "
            "it away"
        )
    for path in part.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_whole(path: Path, content: bytes) -> None:
    """A file with this content or none, whenever the process ends."""
    beside = path.with_name(f"{path.name}.part-{os.getpid()}")
    with replaced_file(path, aside=beside) as aside:
        aside.write_bytes(content)
