"""The two bundles of a comparison: what each is, and what to call it."""

from __future__ import annotations

import hashlib

from echoexport.profiles.quality.plan_layers import measure_storage, name_precision
from echoexport.profiles.quality.report import JSON_NAME, PAGE_NAME, BundleSide
from echoexport.runtime.bundle.opened import Bundle

__all__ = ["describe_side", "label_both"]


def label_both(reference: Bundle, candidate: Bundle) -> tuple[str, str]:
    """What to call both: by precision, else by arithmetic, else by folder."""
    for one, other in (
        (name_precision(reference), name_precision(candidate)),
        (_list_arithmetic(reference), _list_arithmetic(candidate)),
        (reference.folder.name, candidate.folder.name),
    ):
        if one != other:
            return one, other
    return "reference", "candidate"


def describe_side(bundle: Bundle, label: str) -> BundleSide:
    """What a bundle is, called ``label``; none of its networks is opened for it."""
    manifest = bundle.manifest
    hashes = [
        manifest.files[file].sha256 for name in manifest.networks for file in bundle.files_of(name)
    ]
    return BundleSide(
        label=label,
        name=bundle.folder.resolve().name,
        variant=manifest.variant,
        target=manifest.target,
        precision=name_precision(bundle),
        backend=f"{bundle.backend.name}: {bundle.backend.describe()}",
        compute=_list_arithmetic(bundle),
        threads=bundle.options.threads,
        weights=bundle.measure_weights(*manifest.networks),
        bytes=sum(
            file.bytes
            for name, file in manifest.files.items()
            if name not in (JSON_NAME, PAGE_NAME)
        ),
        identity=hashlib.sha256("/".join(hashes).encode()).hexdigest(),
        **measure_storage(bundle, manifest.networks),
    )


def _list_arithmetic(bundle: Bundle) -> str:
    """What its networks compute in, each way once; none is opened for it."""
    return "/".join(sorted(set(bundle.arithmetic().values())))
