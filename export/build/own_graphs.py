"""Graphs for single backends, added to a bundle that is otherwise done."""

from __future__ import annotations

from pathlib import Path

from echoexport.export.build.checks import fits_memory
from echoexport.export.build.job import BundleJob
from echoexport.export.openvino import add_measured_graphs
from echoexport.export.ort_cuda import add_own_graphs
from echoexport.runtime.contract.manifest import Manifest, NetworkEntry
from echoexport.runtime.device import detect_device

_TWO_ENGINES = 3.2
"""Peak memory of two engines on a CPU over one's weights in fp32: while the second is
compiled the first is at rest."""


def add_backend_graphs(manifest: Manifest, folder: Path, *, job: BundleJob) -> Manifest:
    """The graphs that the target's backends have for themselves; the portable ones stay.

    Gives the manifest with the files; as it was where the build is to add none.
    """
    if not job.settings.own_graphs:
        return manifest
    free = detect_device().host_memory_available
    limit = None if job.settings.check == "all" or free is None else free // 2

    def fits(entry: NetworkEntry) -> bool:
        return fits_memory(_TWO_ENGINES * 4 * entry.parameters, limit)

    steps = len(manifest.networks)
    manifest = add_own_graphs(manifest, folder, target=job.target)
    return add_measured_graphs(
        manifest,
        folder,
        target=job.target,
        fits=fits,
        tell=lambda what: job.report(what, steps - 1, steps),
    )
