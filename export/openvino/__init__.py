"""A network's graph as OpenVINO runs it quickest on the CPU that built it.

In plain operators laid out otherwise, with the same weights; chosen by measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

import numpy as np

from echoexport.runtime.contract.manifest import Manifest, NetworkEntry
from echoexport.runtime.errors import BackendError
from echoexport.runtime.progress import Tell
from echoexport.targets.spec import TargetSpec

if TYPE_CHECKING:
    from echoexport.export.openvino.choosing import ChosenGraph

MEASURED_ON = "openvino"
"""The backend that these graphs are for."""

OWN_GRAPHS = "own_graphs"
"""Where a manifest's build settings keep what was measured, by network."""

_SECONDS = 6.0  # of turns for a whole network and an arithmetic


def add_measured_graphs(
    manifest: Manifest,
    folder: Path,
    *,
    target: TargetSpec,
    fits: Callable[[NetworkEntry], bool],
    tell: Tell,
) -> Manifest:
    """Give each network a graph for OpenVINO, where this machine runs it quicker so.

    For targets that run OpenVINO unless told otherwise, and where it works here. A
    network that ``fits`` is kept so only if it gives its self-test's numbers and a
    whole call is quicker; any other goes by its parts' times, and is proved when it is
    opened. Gives the manifest with the files, and with all that was measured.
    """
    from echoexport.runtime.backends import load_backend
    from echoexport.runtime.bundle.files import describe_file

    backend = load_backend(MEASURED_ON)
    if target.backends.default != MEASURED_ON or backend.unavailable() is not None:
        return manifest
    available = backend.arithmetic()
    networks = dict(manifest.networks)
    files = dict(manifest.files)
    found: dict[str, Any] = {}
    for name, entry in manifest.networks.items():
        trial = _Trial(folder, name, entry, arithmetic=_list_arithmetic(entry, available))
        measured = trial.run(whole=fits(entry), tell=tell)
        if measured is None:
            continue
        found[name] = measured.describe()
        if measured.kept:
            own = trial.path.name
            networks[name] = replace(entry, graphs={**entry.graphs, MEASURED_ON: own})
            files[own] = describe_file(trial.path)
    if not found:
        return manifest
    made = manifest.provenance
    machine = {"backend": backend.describe(), **_describe_machine(), "networks": found}
    notes = (*made.notes, *(_tell_of(name, one) for name, one in found.items()))
    made = replace(made, settings={**made.settings, OWN_GRAPHS: machine}, notes=notes)
    return replace(manifest, networks=networks, files=files, provenance=made)


@dataclass(frozen=True)
class _Measured:
    """What was found of one network."""

    chosen: ChosenGraph
    calls: Mapping[str, tuple[float, float, float]] | None
    """By arithmetic, times as quick and the seconds of a plain and an own call; None where
    the whole network was not timed."""
    refused: str

    @property
    def kept(self) -> bool:
        from echoexport.export.openvino.choosing import is_quicker

        if self.refused or not self.chosen.taken:
            return False
        return self.calls is None or is_quicker({key: one[0] for key, one in self.calls.items()})

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        calls = {
            key: {
                "times_as_quick": round(one[0], 3),
                "seconds": [float(f"{s:.4g}") for s in one[1:]],
            }
            for key, one in (self.calls or {}).items()
        }
        forms = [
            {
                "rewrite": one.rewrite,
                "form": one.form,
                "places": one.places,
                "option": one.option,
                "times_as_quick": dict(one.ratios),
                "taken": one.taken,
            }
            for one in self.chosen.forms
        ]
        return {"kept": self.kept, "refused": self.refused, "calls": calls, "forms": forms}


class _Trial:
    """One network's own graph, written, proved and timed."""

    def __init__(
        self, folder: Path, name: str, entry: NetworkEntry, *, arithmetic: Sequence[str]
    ) -> None:
        self._folder = folder
        self._name = name
        self._entry = entry
        self._arithmetic = arithmetic
        self.path = folder / f"{name}.{MEASURED_ON}.onnx"

    def run(self, *, whole: bool, tell: Tell) -> _Measured | None:
        """None where the network has no place to be written anew.

        The file is there if it is to be kept.
        """
        from echoexport.calibration.graphs.float_graph import FloatGraph
        from echoexport.export.openvino.choosing import choose_graph

        model = FloatGraph(self._folder / self._entry.graph).model
        chosen = choose_graph(
            model,
            arithmetic=self._arithmetic,
            tell=lambda what: tell(f"{self._name}: {what}, timed"),
        )
        if not chosen.forms:
            return None
        measured = _Measured(chosen, None, "")
        if chosen.taken:
            self.path.write_bytes(chosen.model.SerializeToString(deterministic=True))
            if whole:
                tell(f"{self._name}: timed as a whole")
                measured = self._race(chosen)
            if not measured.kept:
                self.path.unlink()
        return measured

    def _race(self, chosen: ChosenGraph) -> _Measured:
        """Both graphs on the self-test's inputs, held to its outputs, and timed in turns."""
        from echoexport.export.openvino.trials import Runner, compare

        with np.load(self._folder / self._entry.self_test) as arrays:
            inputs = {one.name: arrays[f"input.{one.name}"] for one in self._entry.inputs}
            wanted = {one.name: arrays[f"output.{one.name}"] for one in self._entry.outputs}
        calls: dict[str, tuple[float, float, float]] = {}
        for compute in self._arithmetic:
            try:
                own = Runner(self.path, inputs, compute=compute)
                wrong = self._judge(own.run(), wanted, compute=compute)
                plain = Runner(self._folder / self._entry.graph, inputs, compute=compute)
            except BackendError as error:
                wrong = str(error)
            if wrong:
                return _Measured(chosen, calls or None, wrong)
            calls[compute] = compare(plain, own, seconds=_SECONDS)
        return _Measured(chosen, calls, "")

    def _judge(
        self, found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], *, compute: str
    ) -> str:
        """What is wrong with the outputs, "" where nothing is."""
        from echoexport.runtime.bundle.network import compare_outputs
        from echoexport.runtime.contract.spec import find_tolerance

        precision = self._entry.describe(self._name).computed_in(compute)
        tolerance = find_tolerance(self._entry.tolerances, precision)
        error = compare_outputs(found, wanted)
        if error <= tolerance:
            return ""
        return (
            f"in {compute} it is wrong by {error:.2g} of the maximum ({tolerance:.2g} is allowed)"
        )


def _list_arithmetic(entry: NetworkEntry, available: Sequence[str]) -> tuple[str, ...]:
    """What a network may have to compute in: what was chosen for it, else all there is."""
    if entry.compute != "fp32" and entry.compute in available:
        return (entry.compute,)
    return tuple(available)


def _describe_machine() -> dict[str, Any]:
    from echoexport.profiles.measuring.circumstances import describe_machine

    machine = describe_machine()
    return {"instructions": " ".join(machine.instructions) or "unknown", "load": machine.load}


def _tell_of(name: str, found: Mapping[str, Any]) -> str:
    """One line for people."""
    if found["refused"]:
        return f"{name}: no graph of its own for {MEASURED_ON}: {found['refused']}"
    taken = [one for one in found["forms"] if one["taken"]]
    if not taken:
        return f"{name}: no graph of its own for {MEASURED_ON}: no part of it is quicker otherwise"
    calls = found["calls"]
    timed = ", ".join(f"{one['times_as_quick']:.2f} x in {key}" for key, one in calls.items())
    if not found["kept"]:
        return f"{name}: no graph of its own for {MEASURED_ON}: a whole call is {timed}"
    parts = "; ".join(
        f"{one['places']} of {one['form']} as {one['rewrite']} "
        f"({geometric_mean(one['times_as_quick'].values()):.2f} x)"
        for one in taken
    )
    told = f"a call {timed}" if timed else "too large to be timed as a whole here"
    return (
        f"{name}: a graph of its own for {MEASURED_ON}, {told} (measured here, in turns): {parts}"
    )
