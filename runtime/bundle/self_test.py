"""A network run on the golden arrays that travel with it."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoexport.runtime.bundle.files import hold_file
from echoexport.runtime.bundle.network import Network, compare_outputs, find_worst_output
from echoexport.runtime.contract.manifest import Manifest, NetworkEntry
from echoexport.runtime.contract.spec import find_tolerance
from echoexport.runtime.errors import BundleError


@dataclass(frozen=True)
class SelfTestResult:
    """How one network did on its own golden arrays."""

    network: str
    """Its name."""
    precision: str
    """What it computed in."""
    error: float
    """Relative to each output's largest value."""
    tolerance: float
    """What the error is held to."""
    output: str = ""
    """The one that it is of."""

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


def run_self_test(
    network: Network, entry: NetworkEntry, *, folder: Path, manifest: Manifest
) -> SelfTestResult:
    """Compare a network with the golden arrays in the bundle.

    Raises:
        BundleError: the arrays are not what the manifest says, or not every input and
            output of this network.
    """
    inputs = {tensor.name: f"input.{tensor.name}" for tensor in entry.inputs}
    outputs = {tensor.name: f"output.{tensor.name}" for tensor in entry.outputs}
    try:
        with (
            hold_file(folder, entry.self_test, manifest=manifest) as file,
            np.load(io.BytesIO(file.content()), allow_pickle=False) as arrays,
        ):
            given = {name: arrays[key] for name, key in inputs.items()}
            wanted = {name: arrays[key] for name, key in outputs.items()}
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise BundleError(
            f"{folder / entry.self_test}: not the arrays of {network.spec.name}: {error}"
        ) from error
    found = network(given)
    difference = compare_outputs(found, wanted)
    worst = find_worst_output(found, wanted)
    tolerance = find_tolerance(entry.tolerances, network.precision)
    return SelfTestResult(network.spec.name, network.precision, difference, tolerance, worst)
