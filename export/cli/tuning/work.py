"""A tuning from its options to its report, and the defaults that it writes."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoexport.runtime.errors import SettingError

if TYPE_CHECKING:
    from echoexport.calibration.progress import ProgressFolder
    from echoexport.export.build.defaults import TunedDefaults
    from echoexport.profiles.tuning.choices import TuningSide
    from echoexport.profiles.tuning.report import TuningReport
    from echoexport.runtime.contract.manifest import Manifest

__all__ = [
    "TUNING_FILES",
    "SideSet",
    "find_sides",
    "open_progress",
    "parse_numbers",
    "write_defaults",
    "write_tuning",
]

TUNING_FILES = ("report.json", "tuning.svg", "tuning.html")


@dataclass(frozen=True)
class SideSet:
    """What is measured: the bundle in each arithmetic, and other bundles."""

    sides: tuple[TuningSide, ...]
    """The reference's first: the bundle itself, in fp32 where it can be had."""
    present: str
    """The label of the bundle as it runs now."""
    tried: tuple[str, ...]
    """Labels of those on which steps and overlaps are tried."""


def parse_numbers(option: str, text: str, *, least: int) -> tuple[int, ...]:
    """Whole numbers between commas, each once, in their order.

    Raises:
        SettingError: something else, or a number below ``least``.
    """
    numbers = []
    for part in text.split(","):
        if not part.strip().isascii() or not part.strip().isdigit() or len(part) > 9:
            raise SettingError(
                f"{option} {text}: whole numbers between commas are wanted, e.g. 1,2,4"
            )
        numbers.append(int(part))
    if min(numbers) < least:
        raise SettingError(f"{option} {text}: {min(numbers)} is too few; {least} or more is wanted")
    return tuple(dict.fromkeys(numbers))


def find_sides(
    folder: Path, against: Sequence[Path], computes: Sequence[str], *, backend: str | None
) -> SideSet:
    """Arithmetics of the bundle and of others; none asked for takes all that work here.

    Raises:
        SettingError: an arithmetic that the backend has not.
        BundleError, BackendError: a bundle that cannot be opened here.
    """
    from echoexport.profiles.tuning.choices import TuningSide
    from echoexport.profiles.tuning.study import list_arithmetics

    own = list_arithmetics(folder, (), backend=backend)
    wanted = list_arithmetics(folder, computes, backend=backend) if computes else own
    labels = _label(own)
    sides = [
        TuningSide(labels[compute], folder, compute, own=True)
        for compute in own
        if compute in ("", "fp32") or compute in wanted
    ]
    # in fp32 the frames are the bundle's best; they come first
    sides.sort(key=lambda side: side.compute != "fp32" and "fp32" in own)
    tried = [labels[one] for one in wanted if _is_wanted(one, wanted[one], computes)]
    for other in against:
        found = list_arithmetics(other, computes, backend=backend)
        for compute in found:
            if not _is_wanted(compute, found[compute], computes):
                continue
            label = f"{other.resolve().name}: {found[compute]}"
            if label in tried:
                label = f"{other}: {found[compute]} {compute}".strip()
            sides.append(TuningSide(label, other, compute, own=False))
            tried.append(label)
    return SideSet(tuple(sides), labels[""], tuple(tried))


def _is_wanted(compute: str, computed: str, computes: Sequence[str]) -> bool:
    """Whether an arithmetic was asked for, by its name or as the bundle's own choice."""
    parts = computed.replace("/", "+").split("+")
    return not computes or bool(compute) or any(part in computes for part in parts)


def _label(found: dict[str, str]) -> dict[str, str]:
    """Names of arithmetics, told apart where what was asked for is not what computes."""
    names = list(found.values())
    return {
        compute: name if names.count(name) == 1 else f"{name} ({compute or 'as built'})"
        for compute, name in found.items()
    }


def open_progress(manifest: Manifest, cache: Path | None, *, keep: bool) -> ProgressFolder:
    """Where this bundle's measurements are kept until the tuning ends."""
    from echoexport.calibration.progress import (
        NO_PROGRESS,
        ProgressFolder,
        make_key,
        prune_progress,
    )
    from echoexport.runtime.files.cache_folders import find_cache_folder

    folder = find_cache_folder("progress", given=cache) if keep else None
    if folder is None:
        return NO_PROGRESS
    prune_progress(folder)
    hashes = [manifest.files[name].sha256 for name in sorted(manifest.files)]
    return ProgressFolder(folder / f"tune-{make_key(*hashes)}")


def write_tuning(report: TuningReport, folder: Path) -> None:
    """The report's files, each whole or not at all. Raises OutputError."""
    from echoexport.profiles.pages.tuning_chart import format_picture
    from echoexport.profiles.pages.tuning_page import format_tuning_page
    from echoexport.profiles.tuning.report import format_tuning_json
    from echoexport.runtime.files.aside import write_whole

    texts = (format_tuning_json(report), format_picture(report), format_tuning_page(report))
    for name, text in zip(TUNING_FILES, texts, strict=True):
        write_whole(folder / name, text)


def write_defaults(
    report: TuningReport, bundle: Path, run: Path, sides: SideSet, *, before: Manifest
) -> str:
    """Write what was chosen into the bundle, and into the compiled one that ran in its place.

    What was written, in a line.

    Raises:
        OutputError: it cannot be written, or was changed meanwhile.
    """
    from echoexport.export.build.defaults import TunedDefaults, record_defaults

    chosen = report.chosen
    side = next(one for one in sides.sides if one.label == chosen.side)
    computed = side.compute if before.compiled is None and chosen.side != sides.present else ""
    defaults = TunedDefaults(chosen.steps, chosen.overlap, computed)
    record_defaults(
        bundle,
        defaults,
        before=before,
        origin=_describe_origin(report),
        note=_describe_note(report),
        compiled=[] if run == bundle else [run],
    )
    return f"{bundle}: {_describe_defaults(defaults)} are its defaults from now on"


def _describe_defaults(defaults: TunedDefaults) -> str:
    words = [f"steps {defaults.steps}", f"overlap {defaults.overlap}"]
    return ", ".join([*words, *([defaults.compute] if defaults.compute else [])])


def _describe_origin(report: TuningReport) -> dict[str, Any]:
    """What the manifest says of it: with what, on what, against what, and what came out."""
    from echoexport.runtime.contract.schema import dump

    found = report.find(report.chosen)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "echoexport": importlib.metadata.version("echoexport"),
        "machine": report.conditions.machine.describe(),
        "clips": [trial.clip for trial in found.trials],
        "limits": dump(report.limits),
        "reference": dump(report.reference),
        "before": dump(report.present),
        "chosen": dump(report.chosen),
        "frames_per_second": found.frames_per_second,
        "psnr": found.psnr,
        "ssim": found.ssim,
        "flicker": found.flicker,
        "lipsync_loss": found.lipsync_loss,
    }


def _describe_note(report: TuningReport) -> str:
    found = report.find(report.chosen)
    now = report.find(report.present)
    ratio = found.frames_per_second / now.frames_per_second
    return (
        f"tuned on {len(found.trials)} clips, {report.conditions.machine.processor}: "
        f"{report.chosen.describe()} in place of {report.present.describe()}, {ratio:.2f} x as "
        f"fast, SSIM {found.ssim:.4f} against {report.reference.describe()}"
    )
