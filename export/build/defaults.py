"""Defaults of a finished bundle written anew: steps, overlap, and what its engines compute in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.manifest import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    replace_manifest,
)
from echoexport.runtime.contract.settings import SamplerSettings
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME
from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.aside import refuse_briefly
from echoexport.runtime.files.staging import staged_file

__all__ = ["TUNING", "TunedDefaults", "record_defaults", "require_new_manifest"]

TUNING = "tuning"
"""The key of a manifest's ``provenance.settings`` that says how its defaults were found."""


@dataclass(frozen=True)
class TunedDefaults:
    """What a bundle shall do unless told otherwise."""

    steps: int
    """Of the sampling loop."""
    overlap: int
    """Frames that neighbouring windows share."""
    compute: str
    """Of all networks; empty leaves each its own."""


def require_new_manifest(bundle: Path) -> None:
    """Refuse, before long work, a bundle whose manifest could not be replaced after it.

    Raises:
        OutputError: it cannot be written there, or not beside the bundle, where a new
            manifest lies until it is whole; or it is signed.
    """
    if (bundle / SIGNATURES_NAME).exists():
        raise OutputError(
            f"{bundle}: is signed, and nobody signed a manifest with other defaults: --dry-run "
            f"writes none; or remove its {SIGNATURES_NAME}, tune it and sign it anew"
        )
    for place in (bundle / MANIFEST_NAME, bundle):
        try:
            with staged_file(place):
                pass
        except OSError as error:
            raise refuse_briefly(bundle / MANIFEST_NAME, error) from error


def record_defaults(
    bundle: Path,
    defaults: TunedDefaults,
    *,
    before: Manifest,
    origin: Mapping[str, Any],
    note: str,
    compiled: Sequence[Path] = (),
) -> Manifest:
    """Write defaults into a bundle's manifest, and into compiled bundles that were made of it.

    ``before`` is what the manifest was when work on it began. ``origin`` says how the
    defaults were found; it and ``note`` go into the provenance, in the place of an
    earlier tuning's. Each manifest is replaced whole or not at all; a compiled bundle
    whose turn does not come is compiled again at its next use.

    Raises:
        OutputError: the manifest was changed meanwhile, or cannot be written.
        BundleError: there is no bundle any more.
    """
    if read_manifest(bundle) != before:
        raise OutputError(
            f"{bundle / MANIFEST_NAME}: was changed by another program meanwhile; tune it again"
        )
    changed = _change(before, defaults, origin=origin, note=note)
    replace_manifest(changed, bundle)
    for folder in compiled:
        engines = read_manifest(folder)
        if engines.compiled is None:
            continue
        source = replace(engines.compiled, source=hash_file(bundle / MANIFEST_NAME))
        own = replace(defaults, compute="")  # engines compute as they were compiled
        following = _change(engines, own, origin=origin, note=note)
        replace_manifest(replace(following, compiled=source), folder)
    return changed


def _change_steps(sampler: SamplerSettings, steps: int) -> SamplerSettings:
    """Live sessions keep theirs: they choose by what the device keeps up with."""
    live = sampler.steps if sampler.live_steps is None else sampler.live_steps
    return replace(sampler, steps=steps, live_steps=None if live == steps else live)


def _change(
    manifest: Manifest, defaults: TunedDefaults, *, origin: Mapping[str, Any], note: str
) -> Manifest:
    made = manifest.provenance
    earlier = made.settings.get(TUNING)
    dropped = earlier.get("note") if isinstance(earlier, Mapping) else None
    notes = [one for one in made.notes if one != dropped]
    networks = dict(manifest.networks)
    if defaults.compute:
        networks = {
            name: replace(entry, compute=defaults.compute) for name, entry in networks.items()
        }
    return replace(
        manifest,
        sampler=_change_steps(manifest.sampler, defaults.steps),
        window=replace(manifest.window, overlap=defaults.overlap),
        networks=networks,
        provenance=replace(
            made,
            settings={**made.settings, TUNING: {**origin, "note": note}},
            notes=(*notes, note),
        ),
    )
