"""What NVIDIA's parser and builder make of each network.

Seconds, engine size and peak memory, on this CPU alone.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from random_bundle import default_folder, make_bundle
from results_file import RESULTS, parse_arguments, write_results

from echoexport.export.engines.tensorrt_rtx import check_network, estimate_memory, is_installed
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import GraphError


def main() -> None:
    """Parse and build each network, one at a time; exit 1 where one is refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "bundle", type=Path, nargs="?", help="an fp16 bundle; without it, a tiny one is made"
    )
    parser.add_argument(
        "--network", choices=FAMILY.required, action="append", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=default_folder(),
        help="where checkpoints and bundles are kept",
    )
    arguments = parse_arguments(parser, name="tensorrt_rtx_tiny")
    if not is_installed():
        sys.stdout.write(
            "not measured: TensorRT-RTX is not installed (pip install 'echoexport[tensorrt-rtx]')\n"
        )
        return
    folder = arguments.bundle
    if folder is None:
        _, folder = make_bundle(
            "tiny", pixels=128, frames=12, precision="fp16", folder=arguments.folder
        )
    elif arguments.output == RESULTS / "tensorrt_rtx_tiny.json":
        arguments.output = RESULTS / "tensorrt_rtx.json"
    with open_bundle(folder, backend="null") as bundle:
        networks = {name: build_one(bundle, name) for name in arguments.network or FAMILY.required}
        write_results(arguments.output, {**describe(bundle), "networks": networks})
    if any("refused" in result for result in networks.values()):
        raise SystemExit(1)


def build_one(bundle: Bundle, name: str) -> dict[str, Any]:
    """One network's figures, or why it was refused."""
    entry = bundle.manifest.networks[name]
    weights = bundle.manifest.files[entry.weights].bytes
    common = {
        "parameters": entry.parameters,
        "weight_bytes": weights,
        "estimated_bytes": estimate_memory(weights),
    }
    try:
        report = check_network(bundle.folder / entry.graph)
    except GraphError as error:
        sys.stdout.write(f"  {name}: refused: {error}\n")
        return {**common, "refused": str(error).replace(str(bundle.folder), bundle.folder.name)}
    sys.stdout.write(
        f"  {name:<18} parse {report.parse_seconds:6.1f} s   build {report.build_seconds:6.1f} s   "
        f"engine {report.engine_bytes / 1e6:8.1f} MB   peak {report.peak_bytes / 1e9:5.2f} GB\n"
    )
    sys.stdout.flush()
    return {**common, **asdict(report)}


def describe(bundle: Bundle) -> dict[str, Any]:
    """What was built from."""
    manifest = bundle.manifest
    return {
        "precision": manifest.precision,
        "size": [manifest.picture.width, manifest.picture.height],
        "window_frames": manifest.window.frames,
        "target": manifest.target,
    }


if __name__ == "__main__":
    main()
