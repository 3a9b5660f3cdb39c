"""Whether two bundles can be compared, and what makes a comparison doubtful."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import InputError

__all__ = ["note_differences", "require_all_comparable", "require_comparable"]


def require_comparable(reference: Manifest, candidate: Manifest, *, names: tuple[str, str]) -> None:
    """Refuse two bundles that do not render the same clip from the same noise.

    Raises:
        InputError: names what differs, and both values.
    """
    for what in ("variant", "face", "picture size", "window", "noise", "scheduler", "audio"):
        one = _describe_part(reference, what)
        other = _describe_part(candidate, what)
        if one != other:
            raise InputError(
                f"{names[0]} and {names[1]} differ in {what} ({one} and {other}): build both "
                "from one checkpoint with the same size and window"
            )


def require_all_comparable(reference: Bundle, others: Iterable[Bundle]) -> None:
    """:func:`require_comparable` of each, under the names of their folders."""
    for other in others:
        names = (reference.folder.name, other.folder.name)
        require_comparable(reference.manifest, other.manifest, names=names)


def _describe_part(manifest: Manifest, what: str) -> Any:
    picture = manifest.picture
    sampler = manifest.sampler
    parts = {
        "variant": manifest.variant,
        "face": manifest.face,
        "picture size": f"{picture.width}x{picture.height}, "
        f"{picture.latent_channels} x 1/{picture.downscale}",
        "window": f"{manifest.window.frames} frames moving {manifest.window.shift}",
        "noise": f"clamp {sampler.noise_clamp}, shared {sampler.shared_noise:g}",
        "scheduler": sampler.scheduler,
        "audio": manifest.audio,
    }
    return parts[what]


def note_differences(reference: Manifest, candidate: Manifest) -> tuple[str, ...]:
    """A line for each thing that makes differences more than the precision's."""
    one = reference.provenance.checkpoint_files
    other = candidate.provenance.checkpoint_files
    if {name: file.sha256 for name, file in one.items()} == {
        name: file.sha256 for name, file in other.items()
    }:
        return ()
    return (
        "the bundles were built from different checkpoints: differences are not those of the "
        "precision alone",
    )
