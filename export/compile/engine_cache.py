"""Engines kept on disk under a key of all that they depend on, and checked before each use."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.manifest import FileEntry
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.contract.spec import TensorSpec
from echoexport.runtime.files.json_file import read_json
from echoexport.runtime.progress import Tell

ENGINE_SCHEMA = 1
SIDECAR = "engine.json"
_KEY = re.compile(r"[0-9a-f]{64}")
_LIBRARY = re.compile(r"(?P<network>[a-z_]+)-[0-9a-f]{24}")
_STAGING = re.compile(rf"\.part-(?P<key>{_KEY.pattern}|[a-z_]+-[0-9a-f]{{24}})-[0-9a-f]{{12}}")
_TRIES = 5


@dataclass(frozen=True)
class EngineIdentity:
    """All that an engine depends on."""

    network: str
    """Its name."""
    graph: str
    """The graph's sha256."""
    weights: str
    """The weights' sha256."""
    inputs: tuple[TensorSpec, ...]
    """Names, types and shapes."""
    outputs: tuple[TensorSpec, ...]
    """Names, types and shapes."""
    precision: str
    """What the network is stored in."""
    compute: str
    """Arithmetic that is asked of the engine."""
    backend: str
    """Its name."""
    fingerprint: Mapping[str, str]
    """What the library and the device must be, by name."""
    settings: Mapping[str, Any]
    """Those that reach the builder."""
    revision: int
    """Of our own builder, where what it writes has changed."""

    @property
    def key(self) -> str:
        """sha256 in hex over every field."""
        return hashlib.sha256(json.dumps(dump(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class EngineRecord:
    """The sidecar of an engine."""

    schema: int
    """Of this record."""
    key: str
    """The identity, hashed."""
    made_of: EngineIdentity
    """What the engine depends on."""
    files: Mapping[str, FileEntry]
    """The engine's own first."""
    created: str
    """When it was finished, ISO 8601 in UTC."""
    seconds: float
    """What the build took."""
    peak_bytes: int | None
    """Of the process that built it, None where that is not known."""
    notes: tuple[str, ...]
    """Of its build, in words."""
    precision: str
    """What its self-test found it to compute in."""
    error: float | None
    """Of its self-test, None where it could not run."""
    tolerance: float
    """What the error may be, as in ``CompiledEngine``."""


@dataclass(frozen=True)
class CachedEngine:
    """An entry."""

    folder: Path
    record: EngineRecord
    used: float
    """Seconds since the epoch of its last use, which is the sidecar's time."""
    linked: bool
    """Whether a compiled bundle shares its file, so that removing the entry frees nothing."""

    @property
    def name(self) -> str:
        """Its key."""
        return self.record.key

    @property
    def bytes(self) -> int:
        """Of its files."""
        return sum(file.bytes for file in self.record.files.values())


@dataclass(frozen=True)
class LibraryFolder:
    """Where a library keeps what it compiles for one network while a portable bundle is opened.

    OpenVINO's models, the engines of ONNX Runtime's TensorRT provider, TensorRT-RTX's
    kernels. ``Bundle`` names the folders and sets their time at each use.
    """

    folder: Path
    network: str
    bytes: int
    """Of the files."""
    used: float
    linked: bool = False  # no bundle takes anything from here
    """used and linked: as of ``CachedEngine``."""

    @property
    def name(self) -> str:
        """The folder's: network, and a hash of what the library's files depend on."""
        return self.folder.name


Entry = CachedEngine | LibraryFolder


class EngineCache:
    """Entries are folders named by key; one appears whole, by a rename, or not at all.

    Processes may share it. ``warn`` is told of entries that were found broken, and so
    removed.
    """

    def __init__(self, folder: Path, *, warn: Tell) -> None:
        self.folder = folder
        self._warn = warn

    def find(self, key: str) -> CachedEngine | None:
        """The entry, its files hashed and found right; it then counts as used now."""
        folder = self.folder / key
        looked_at = _recognize(folder)
        if looked_at is None:
            return None
        fault = None
        try:
            found = _read_entry(folder)
            fault = _find_fault(found)
        except (OSError, ValueError) as error:
            fault = str(error)
        if fault is not None and _recognize(folder) != looked_at:
            return self.find(key)  # another process took it away or put a new one there meanwhile
        if fault is not None:
            self._warn(
                f"{folder}: a broken engine in the cache, removed, to be built anew: {fault}"
            )
            self.remove(folder)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder / SIDECAR)
        return found

    def entries(self) -> Iterator[CachedEngine]:
        """Every entry that can be read, the one not used for longest first; nothing is hashed."""
        found = []
        for folder in self._folders(_KEY):
            with contextlib.suppress(OSError, ValueError):
                found.append(_read_entry(folder))
        yield from sorted(found, key=lambda entry: (entry.used, entry.record.key))

    def library_folders(self) -> Iterator[LibraryFolder]:
        """Folders that libraries fill by themselves, the one not used for longest first."""
        found = []
        for folder in self._folders(_LIBRARY):
            match = _LIBRARY.fullmatch(folder.name)
            with contextlib.suppress(OSError):
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                found.append(
                    LibraryFolder(
                        folder, match["network"] if match else "", size, folder.stat().st_mtime
                    )
                )
        yield from sorted(found, key=lambda one: (one.used, one.name))

    @contextlib.contextmanager
    def locked(self, name: str, *, tell: Tell) -> Iterator[bool]:
        """Only one process at a time gets past a name.

        The lock goes with the process, however that ends.

        False where the folder takes no locks: two may then build the same engine, and
        the later one's is kept.
        """
        with contextlib.ExitStack() as stack:
            yield self._lock(name, stack, tell)

    def _lock(self, name: str, stack: contextlib.ExitStack, tell: Tell) -> bool:
        try:
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((self.folder / "locks" / name).open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("waiting for another process that compiles it")
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            return False
        return True

    def _lock_now(self, name: str, stack: contextlib.ExitStack) -> None:
        file = stack.enter_context((self.folder / "locks" / name).open("a"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def make_staging(self, key: str, *, alone: bool) -> Path:
        """A new folder to build an entry in.

        ``alone`` removes what builds of the same key left that were killed.

        Raises:
            OSError: the cache cannot be written.
        """
        if alone:
            for left in self.folder.glob(f".part-{key}-*"):
                shutil.rmtree(left, ignore_errors=True)
        staging = self.folder / f".part-{key}-{uuid.uuid4().hex[:12]}"
        staging.mkdir(parents=True)
        return staging

    def keep(self, staging: Path, record: EngineRecord) -> CachedEngine:
        """Make a staging folder an entry; one of the same key gives way.

        Raises:
            OSError: the cache cannot be written.
        """
        write_record(staging, record)
        folder = self.folder / record.key
        for left in reversed(range(_TRIES)):
            if folder.exists():
                self.remove(folder)
            try:
                staging.rename(folder)
                break
            except OSError:
                # Else another process put its own there, where nothing is locked.
                if not left or not folder.exists():
                    raise
        return _read_entry(folder)

    def remove(self, folder: Path) -> None:
        """Drop an entry, whole: renamed first, so that a reader never meets half of one."""
        away = self.folder / f".part-{folder.name}-{uuid.uuid4().hex[:12]}"
        with contextlib.suppress(OSError):
            folder.rename(away)
            shutil.rmtree(away, ignore_errors=True)

    def drop(self, name: str) -> bool:
        """Remove an entry by its name; False, and it stays, where a process is at work with it."""
        with contextlib.ExitStack() as stack:
            try:
                self._lock_now(name, stack)
            except BlockingIOError:
                return False
            except OSError:
                pass  # no locks here, so nobody can say that it is in use
            self.remove(self.folder / name)
        return True

    def sweep(self) -> int:
        """Remove what killed processes left; those still at work hold the lock of their key.

        Returns how many.
        """
        swept = 0
        for folder in self._folders(_STAGING):
            with contextlib.ExitStack() as stack:
                match = _STAGING.fullmatch(folder.name)
                try:
                    self._lock_now(match["key"] if match else "", stack)
                except OSError:
                    continue
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
        return swept

    def timing_file(self, backend: str, fingerprint: Mapping[str, str]) -> Path:
        """Where a builder keeps what it timed: it holds for one library and device."""
        digest = hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()[
            :24
        ]
        return self.folder / "timing" / f"{backend}-{digest}.cache"

    def _folders(self, pattern: re.Pattern[str]) -> Iterator[Path]:
        try:
            folders = sorted(self.folder.iterdir())
        except OSError:
            return
        yield from (
            folder for folder in folders if pattern.fullmatch(folder.name) and folder.is_dir()
        )


def write_record(folder: Path, record: EngineRecord) -> None:
    """Write an engine's sidecar into a folder that is still being built."""
    text = json.dumps(dump(record), indent=1, ensure_ascii=False) + "\n"
    (folder / SIDECAR).write_text(text, encoding="utf-8")


def _read_entry(folder: Path) -> CachedEngine:
    """An entry's sidecar, checked; its files are looked at, not hashed.

    Raises:
        OSError, ValueError: it cannot be read, or is none of this release's.
    """
    path = folder / SIDECAR
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != ENGINE_SCHEMA:
        raise ValueError(f"{SIDECAR} is not of schema {ENGINE_SCHEMA}")
    record = parse(EngineRecord, data, where=SIDECAR)
    if not folder.name == record.key == record.made_of.key:
        raise ValueError(f"{SIDECAR} belongs to another key")
    if not record.files or any(Path(name).name != name for name in record.files):
        raise ValueError(f"{SIDECAR} names no file, or one elsewhere")
    links = [(folder / name).stat().st_nlink for name in record.files]
    return CachedEngine(folder, record, path.stat().st_mtime, linked=max(links) > 1)


def _recognize(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another that takes its place; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns) if stat.S_ISDIR(found.st_mode) else None


def _find_fault(entry: CachedEngine) -> str | None:
    for name, wanted in entry.record.files.items():
        if (found := hash_file(entry.folder / name)) != wanted.sha256:
            return f"{name} has sha256 {found}, its record says {wanted.sha256}"
    return None


def choose_victims(
    entries: Sequence[Entry],
    *,
    now: float | None = None,
    older_than: float | None = None,
    is_stale: Callable[[Entry], bool] | None = None,
    largest: int | None = None,
    needed: frozenset[str],
) -> list[Entry]:
    """Entries to drop, given oldest use first: those unused for ``older_than`` seconds,
    those that ``is_stale``, then as many as it takes to come down to ``largest`` bytes;
    never one whose name is ``needed``."""
    now = time.time() if now is None else now
    free = [entry for entry in entries if entry.name not in needed]
    gone = [
        entry
        for entry in free
        if (older_than is not None and now - entry.used > older_than)
        or (is_stale is not None and is_stale(entry))
    ]
    if largest is not None:
        total = sum(entry.bytes for entry in entries) - sum(entry.bytes for entry in gone)
        for entry in free:
            if total <= largest:
                break
            if entry not in gone:
                gone.append(entry)
                total -= entry.bytes
    return gone
