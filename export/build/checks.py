"""Proving a bundle on the machine that built it, before it is put in place.

Self-tests and NVIDIA's parser.
"""

from __future__ import annotations

from pathlib import Path

from echoexport.export.build.settings import CHECKS
from echoexport.export.engines import tensorrt_rtx
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import BackendError, SettingError
from echoexport.runtime.progress import Tell
from echoexport.targets.spec import TargetSpec

# "auto" leaves out what would need more than this; a build of the full-size model so
# stays below 6 GB in all.
AUTO_BYTES = 4_000_000_000

NOT_CHECKED = "self-tests were not run by the build: run 'echoexport verify'"

# Peak memory of an engine on a CPU over its weights in fp32: 10.8 GB for the full
# denoiser's 5.2 GB (measured).
_ENGINE_FACTOR = 2.1


def check_bundle(
    folder: Path, manifest: Manifest, *, target: TargetSpec, which: str, tell: Tell
) -> list[str]:
    """Run each network's self-test on this machine; for TensorRT's targets the parser check too.

    which: "auto" checks what fits 4 GB, "all" everything, "none" nothing. Returns notes
    for the manifest: what was checked and with what, and what was not.

    Raises:
        SettingError: ``which`` is none of these.
        BackendError: a network disagrees with its self-test.
        GraphError: NVIDIA's parser or builder refuses a network.
    """
    if which not in CHECKS:
        raise SettingError(f"check {which!r}; known: {', '.join(CHECKS)}")
    if which == "none":
        return [NOT_CHECKED]
    limit = AUTO_BYTES if which == "auto" else None
    notes = _run_self_tests(folder, manifest, limit=limit, tell=tell)
    if target.kind != "cpu":
        notes += _run_parser(folder, manifest, limit=limit, tell=tell)
    return notes


def _run_self_tests(
    folder: Path, manifest: Manifest, *, limit: int | None, tell: Tell
) -> list[str]:
    try:
        bundle = open_bundle(folder)
    except BackendError as error:
        return [f"self-tests were not run by the build: {error}"]
    with bundle:
        fits = {
            n: fits_memory(_ENGINE_FACTOR * 4 * entry.parameters, limit)
            for n, entry in manifest.networks.items()
        }
        passed = [
            name for name in manifest.networks if fits[name] and _self_test(bundle, name, tell=tell)
        ]
        notes = (
            [f"self-tests passed at build time on {bundle.backend.name}: {', '.join(passed)}"]
            if passed
            else []
        )
    return notes + _name_skipped(
        "self-tests", [n for n in fits if not fits[n]], command="echoexport verify"
    )


def _self_test(bundle: Bundle, name: str, *, tell: Tell) -> bool:
    tell(f"{name}: checking on {bundle.backend.name}")
    result = bundle.self_test(name)
    bundle.close_network(name)
    if not result.passed:
        lower = bundle.manifest.networks[name].precision != "fp32"
        raise BackendError(
            f"{name}: {bundle.backend.name} is off by {result.error:.1e} of the maximum, "
            f"{result.tolerance:.0e} is "
            f"allowed; build with {'--precision fp32, or ' if lower else ''}--check none to "
            "keep the bundle anyway"
        )
    return True


def _run_parser(folder: Path, manifest: Manifest, *, limit: int | None, tell: Tell) -> list[str]:
    if not tensorrt_rtx.is_installed():
        return [
            "NVIDIA's parser was not asked: pip install 'echoexport[tensorrt-rtx]', then "
            "'echoexport verify --parser'"
        ]
    passed = []
    skipped = []
    version = ""
    for name, entry in manifest.networks.items():
        if not fits_memory(
            tensorrt_rtx.estimate_memory(manifest.files[entry.weights].bytes), limit
        ):
            skipped.append(name)
            continue
        tell(f"{name}: TensorRT-RTX parse and build")
        version = tensorrt_rtx.check_network(folder / entry.graph).version
        passed.append(name)
    notes = (
        [f"TensorRT-RTX {version} parsed and built at build time: {', '.join(passed)}"]
        if passed
        else []
    )
    return notes + _name_skipped("parser checks", skipped, command="echoexport verify --parser")


def fits_memory(needed: float, limit: int | None) -> bool:
    """Whether so many bytes are within the limit; None is no limit."""
    return limit is None or needed <= limit


def _name_skipped(what: str, names: list[str], *, command: str) -> list[str]:
    return (
        [f"{what} left to '{command}', too large for the build's memory limit: {', '.join(names)}"]
        if names
        else []
    )
