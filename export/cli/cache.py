"""``echoexport cache``: what is in the engine cache, and what may go."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.options import FILE, warn
from echoexport.runtime.errors import BundleError, OutputError, SettingError

if TYPE_CHECKING:
    from echoexport.export.compile.engine_cache import (
        CachedEngine,
        EngineCache,
        Entry,
        LibraryFolder,
    )

_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_BYTES = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}

_folder = click.option(
    "--cache",
    "folder",
    type=FILE,
    metavar="DIR",
    help="The cache folder. Default: the user's cache folder.",
)


@click.group("cache")
def cache_command() -> None:
    """List the engines that were compiled on this machine, and drop those that are not needed."""


@cache_command.command("list")
@_folder
@click.option("--json", "as_json", is_flag=True, help="Everything that is known of each, as JSON.")
def list_command(folder: Path | None, as_json: bool) -> None:
    """Show every engine in the cache, the one not used for longest first.

    Below them stand the folders in which libraries keep what they compiled by
    themselves, while a portable bundle ran.
    """
    opened = open_cache(folder)
    entries = [] if opened is None else list(opened.entries())
    staleness = Staleness()
    others = [] if opened is None else list(opened.library_folders())
    if as_json:
        engines = [describe_entry(each, staleness.find(each)) for each in entries]
        folders = [describe_folder(each) for each in others]
        click.echo(
            json.dumps({"schema": 1, "engines": engines, "library_folders": folders}, indent=1)
        )
        return
    if entries:
        click.echo(
            f"{'key':12} {'network':19} {'precision':9} {'backend':12} {'version':10} "
            f"{'device':24} {'size':>11}"
        )
    rows: list[Entry] = [*entries, *others]
    for entry in rows:
        click.echo(format_entry(entry, staleness.find(entry)))
    where = "no cache folder is known" if opened is None else opened.folder
    size, rest = (sum(entry.bytes for entry in kind) / 1e6 for kind in (entries, others))
    beside = f"; {len(others)} folders of libraries, {rest:.0f} MB" if others else ""
    click.echo(f"{where}: {len(entries)} engines, {size:.0f} MB{beside}")


@cache_command.command("prune")
@click.argument("bundles", nargs=-1, type=FILE, metavar="[COMPILED]...")
@_folder
@click.option(
    "--older-than", metavar="AGE", help="Drop what was not used for so long: 12h, 30d, 8w."
)
@click.option("--stale", is_flag=True, help="Drop what this machine, as it is now, would not open.")
@click.option(
    "--max-size", metavar="SIZE", help="Drop what was not used for longest, down to 500MB, 10GB."
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and drop nothing.")
def prune_command(
    bundles: tuple[Path, ...],
    folder: Path | None,
    older_than: str | None,
    stale: bool,
    max_size: str | None,
    dry_run: bool,
) -> None:
    """Drop engines from the cache.

    None goes that a COMPILED bundle named here was made of, or that a compile is using.
    A compiled bundle has its engines itself and opens without the cache; naming it
    saves building them again. What libraries keep by themselves goes by age and size
    too, and is compiled again when a portable bundle next wants it. TensorRT-RTX's
    engines are for other machines: they are stale once this one would build them
    differently.
    """
    from echoexport.export.compile.engine_cache import choose_victims

    age = None if older_than is None else read_age(older_than)
    largest = None if max_size is None else read_size(max_size)
    if age is None and largest is None and not stale:
        raise SettingError("say what may go: --older-than, --stale or --max-size")
    needed = frozenset(key for bundle in bundles for key in read_keys(bundle))
    opened = open_cache(folder)
    entries: list[Entry] = [] if opened is None else [*opened.entries(), *opened.library_folders()]
    entries.sort(key=lambda entry: entry.used)
    staleness = Staleness()
    rule = (lambda entry: staleness.find(entry) != "") if stale else None
    victims = choose_victims(entries, older_than=age, largest=largest, needed=needed, is_stale=rule)
    gone: list[Entry] = []
    stuck = 0
    word = "would drop" if dry_run else "dropped"
    for entry in victims:
        fate = "gone" if opened is None or dry_run else _drop(opened, entry)
        stuck += fate == "stuck"
        if fate == "gone":
            click.echo(f"{word} {format_entry(entry, staleness.find(entry))}")
            gone.append(entry)
    if opened is not None and not dry_run:
        opened.sweep()
    freed = sum(entry.bytes for entry in gone if not entry.linked)
    word = "would free" if dry_run else "freed"
    click.echo(f"{count_entries(gone, entries)}, {word} {freed / 1e6:.0f} MB")
    if opened is not None and stuck:
        raise OutputError(
            f"{opened.folder}: {stuck} of these cannot be removed; run it as the owner of that "
            "folder"
        )


def _drop(cache: EngineCache, entry: Entry) -> str:
    """What became of an entry: "gone", "used" by another process, or "stuck"."""
    if not cache.drop(entry.name):
        warn(f"{entry.folder}: kept, another process compiles with it")
        return "used"
    if entry.folder.exists():
        warn(f"{entry.folder}: cannot be removed")
        return "stuck"
    return "gone"


def open_cache(folder: Path | None) -> EngineCache | None:
    """The cache in this folder, or the user's; None where no home folder is known."""
    from echoexport.export.compile.engine_cache import EngineCache
    from echoexport.runtime.files.cache_folders import find_cache_folder

    place = find_cache_folder("engines", given=folder)
    return None if place is None else EngineCache(place, warn=warn)


def read_keys(bundle: Path) -> set[str]:
    """Keys of the engines that a compiled bundle was made of.

    Raises:
        BundleError: it is not a compiled bundle.
    """
    from echoexport.runtime.contract.manifest import read_manifest

    compiled = read_manifest(bundle, to_run=False).compiled
    if compiled is None:
        raise BundleError(f"{bundle}: not a compiled bundle; it needs nothing of the engine cache")
    return {engine.key for engine in compiled.engines.values()}


def read_age(text: str) -> float:
    """``30d`` and the like in seconds.

    Raises:
        SettingError: no age.
    """
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([mhdw])", text.strip().lower())
    if found is None:
        raise SettingError(f"--older-than {text}: a number with m, h, d or w is wanted, e.g. 30d")
    return float(found[1]) * _SECONDS[found[2]]


def read_size(text: str) -> int:
    """``10GB`` and the like in bytes.

    Raises:
        SettingError: no size.
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)\s*([kmgt]b|)", text.strip().lower())
    if found is None:
        raise SettingError(
            f"--max-size {text}: a number of bytes, KB, MB or GB is wanted, e.g. 10GB"
        )
    return round(float(found[1]) * _BYTES[found[2]])


class Staleness:
    """Why this machine, as it is now, would not open an engine; each backend is asked once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, str] | None, str]] = {}

    def find(self, entry: Entry) -> str:
        """The differences in words.

        Empty where there is none, and for what a library looks after itself.
        """
        from echoexport.export.compile.engine_cache import CachedEngine
        from echoexport.runtime.bundle.fitting import compare_fingerprints

        if not isinstance(entry, CachedEngine):
            return ""
        made_of = entry.record.made_of
        if made_of.backend not in self._known:
            self._known[made_of.backend] = _find_fingerprint(made_of.backend)
        here, reason = self._known[made_of.backend]
        return (
            reason if here is None else "; ".join(compare_fingerprints(made_of.fingerprint, here))
        )


def _find_fingerprint(backend: str) -> tuple[dict[str, str] | None, str]:
    """A backend's fingerprint here, or why there is none.

    Where engines are built ahead of time, for other machines, the backend need not work
    for that.
    """
    from echoexport.export.engines.nvidia.tensorrt_library import PRODUCTS
    from echoexport.runtime.backends import load_backend
    from echoexport.runtime.bundle.fitting import read_fingerprint
    from echoexport.runtime.errors import EchoExportError

    try:
        found = load_backend(backend)
        if not found.keeps_engines:
            return None, "opens no engines"
        ahead_of_time = backend in PRODUCTS and PRODUCTS[backend].ahead_of_time
        reason = None if ahead_of_time else found.unavailable()
        return (read_fingerprint(found), "") if reason is None else (None, reason)
    except EchoExportError as error:
        return None, str(error)


def describe_entry(entry: CachedEngine, stale: str) -> dict[str, Any]:
    """An entry with its record and state, for JSON."""
    from echoexport.runtime.contract.schema import dump

    return {
        "folder": str(entry.folder),
        "bytes": entry.bytes,
        "used": round(entry.used),
        "linked": entry.linked,
        "stale": stale,
        "record": dump(entry.record),
    }


def describe_folder(entry: LibraryFolder) -> dict[str, Any]:
    """A library's own folder, for JSON."""
    return {
        "folder": str(entry.folder),
        "network": entry.network,
        "bytes": entry.bytes,
        "used": round(entry.used),
    }


def count_entries(some: list[Entry], of: list[Entry]) -> str:
    """How many engines of how many, and the same of libraries' folders where there are any."""
    from echoexport.export.compile.engine_cache import LibraryFolder

    folders, dropped = (
        sum(isinstance(each, LibraryFolder) for each in entries) for entries in (of, some)
    )
    beside = f" and {dropped} of {folders} folders of libraries" if folders else ""
    return f"{len(some) - dropped} of {len(of) - folders} engines{beside}"


def format_entry(entry: Entry, stale: str) -> str:
    """An entry as a line of a table."""
    from echoexport.export.compile.engine_cache import LibraryFolder

    size = f"{entry.bytes / 1e6:8.1f} MB"
    age = f"used {describe_age(time.time() - entry.used)} ago"
    if isinstance(entry, LibraryFolder):
        none = f"{'':9} {'':12} {'':10} {'':24}"
        return f"{'-':12} {entry.network:19} {none} {size}  {age}  kept by its library"
    made_of = entry.record.made_of
    made = made_of.fingerprint
    version = made.get("version", "").split("-")[0]
    device = made.get("device") or made.get("arch", "")
    state = "stale" if stale else "ready"
    return (
        f"{entry.record.key[:12]} {made_of.network:19} {entry.record.precision:9} "
        f"{made_of.backend:12} {version:10} "
        f"{device:24} {size}  {age}  {state}{', in a compiled bundle' if entry.linked else ''}"
    )


def describe_age(seconds: float) -> str:
    """Roughly, for people: 40 s, 5 m, 3 h, 12 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
