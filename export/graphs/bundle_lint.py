"""The graph rules on a finished bundle.

Ours, and those of every TensorRT that its target's boards may have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.float_islands import list_float32
from echoexport.calibration.lint.finding import Finding
from echoexport.calibration.lint.graph_lint import lint_graph
from echoexport.calibration.lint.tensorrt_operators import LINES
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import SettingError, UnknownNameError
from echoexport.targets.spec import list_targets, load_target


def find_versions(target: str) -> tuple[str, ...]:
    """The versions of TensorRT that a target's systems bring.

    Every line that we have rules for where it names none.
    """
    own = load_target(target).tensorrt if target in list_targets() else ()
    return tuple(dict.fromkeys(line.tensorrt for line in own)) or tuple(LINES)


def lint_bundle(
    folder: Path, manifest: Manifest, *, networks: Iterable[str], versions: Iterable[str]
) -> Iterator[tuple[str, list[Finding]]]:
    """Each network with the rules that its graph breaks; weights are not read.

    Raises:
        SettingError: a compiled bundle, which holds no graphs. UnknownNameError: no
            such network. GraphError: a file that is no graph, or a version of TensorRT
            that is older than 10.3. MissingPackageError: onnx is not installed.
    """
    if manifest.compiled is not None:
        raise SettingError(
            f"{folder} holds engines and no graphs; name the portable bundle "
            f"{manifest.compiled.portable!r}"
        )
    chosen = tuple(versions)
    for name in networks:
        if name not in manifest.networks:
            raise UnknownNameError("network", name, known=manifest.networks)
        entry = manifest.networks[name]
        model = FloatGraph(folder / entry.graph).model
        spec = entry.describe(name)
        yield name, lint_graph(model, spec, float32=list_float32(model), tensorrt=chosen)
