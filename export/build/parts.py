"""A bundle put together, network by network, from finished ones that differ in precision alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.runtime.bundle.files import bring_file, describe_file
from echoexport.runtime.contract.manifest import (
    FileEntry,
    Manifest,
    NetworkEntry,
    replace_manifest,
)
from echoexport.runtime.errors import SettingError
from echoexport.runtime.files.aside import replaced_file


@dataclass(frozen=True)
class Part:
    """One network's place.

    A folder with its files under the names of ``entry``, and what it shall compute in.
    """

    folder: Path
    entry: NetworkEntry
    files: Mapping[str, FileEntry]
    compute: str = "fp32"


def part_of(folder: Path, manifest: Manifest, name: str, *, compute: str = "fp32") -> Part:
    """A network of a finished bundle, without graphs for single backends.

    Those are made of the graph it ends with.
    """
    entry = replace(manifest.networks[name], graphs={})
    files = {file: manifest.files[file] for file in entry.files}
    return Part(folder, entry, files, compute)


def compose_bundle(parts: Mapping[str, Part], folder: Path, *, base: Manifest) -> Manifest:
    """Bring every part's files into ``folder`` and describe them.

    The manifest is returned, not written.

    Files that lie in ``folder`` already are its own. All else of ``base`` stays as it
    is. A network that shares another's weights gets them under a name of its own where
    the other's are not the same any more.
    """
    parts = _separate_weights(parts, folder)
    for part in parts.values():
        for name in part.files:
            if part.folder != folder:
                bring_file(part.folder / name, folder / name)
    networks = {name: replace(part.entry, compute=part.compute) for name, part in parts.items()}
    precisions = {entry.precision for entry in networks.values()}
    return replace(
        base,
        precision="int8" if "int8" in precisions else min(precisions),  # fp16 before fp32
        networks=networks,
        files={name: entry for part in parts.values() for name, entry in part.files.items()},
    )


def _separate_weights(parts: Mapping[str, Part], folder: Path) -> dict[str, Part]:
    taken: dict[str, FileEntry] = {}
    separate = {}
    for name, part in parts.items():
        weights = part.files[part.entry.weights]
        own = f"{name}.bin"
        if taken.setdefault(part.entry.weights, weights) != weights:
            separate[name] = _bring_apart(part, folder, own)
            continue
        separate[name] = part
        if part.entry.weights != own:
            (folder / own).unlink(missing_ok=True)  # where it was separate before
    return separate


def _bring_apart(part: Part, folder: Path, weights: str) -> Part:
    """A network brought into ``folder``, with its weights under another name."""
    entry = part.entry
    model = FloatGraph(part.folder / entry.graph).model
    for tensor in model.graph.initializer:
        for place in tensor.external_data:
            if place.key == "location":
                place.value = weights
    bring_file(part.folder / entry.weights, folder / weights)
    bring_file(part.folder / entry.self_test, folder / entry.self_test)
    with replaced_file(folder / entry.graph) as aside:
        aside.write_bytes(model.SerializeToString(deterministic=True))
    files = {
        entry.graph: describe_file(folder / entry.graph),
        weights: part.files[entry.weights],
        entry.self_test: part.files[entry.self_test],
    }
    return Part(folder, replace(entry, weights=weights), files, part.compute)


def add_file(manifest: Manifest, folder: Path, name: str) -> Manifest:
    """The manifest with one more file of the folder in its table."""
    return replace(manifest, files={**manifest.files, name: describe_file(folder / name)})


def record_arithmetic(bundle: Path, compute: str) -> None:
    """Write into a bundle what its engines are to compute in, so that every later run does.

    Raises:
        SettingError: no such arithmetic, or this machine does not have it.
    """
    from echoexport.runtime.bundle.opened import open_bundle

    with open_bundle(bundle) as opened:
        manifest = opened.manifest
        here = opened.backend.arithmetic()
        if compute not in here:
            raise SettingError(
                f"--compute {compute}: backend {opened.backend.name!r} has {', '.join(here)} here"
            )
    networks = {name: replace(entry, compute=compute) for name, entry in manifest.networks.items()}
    replace_manifest(replace(manifest, networks=networks), bundle)
