"""One process of a contestant: opens the denoiser, and calls it each time it is told to.

Writes "ready" once it was called, then "done" after each round; or why not, in a line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cpu_contestants import call_side_by_side
from gpu_contestants import NETWORK, Denoiser, load_modules, make_denoiser

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.export.openvino.choosing import choose_graph
from echoexport.runtime.backends import load_backend
from echoexport.runtime.engine.protocol import EngineOptions

FORMS = {"half": (128, 4), "full": (256, 12)}
"""Pixels and frames by size."""


def main() -> None:
    """``FOLDER SIZE CONTESTANT``, the last as JSON."""
    folder = Path(sys.argv[1])
    size = sys.argv[2]
    told = json.loads(sys.argv[3])
    try:
        call = open_call(open_denoiser(folder, size), told)
        call_side_by_side(call, told["lanes"])
    except Exception as error:  # whatever it is, the bench says so and goes on
        answer(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return
    answer("ready")
    for _ in sys.stdin:
        call_side_by_side(call, told["lanes"])
        answer("done")


def answer(line: str) -> None:
    """Say it to the bench."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def open_denoiser(folder: Path, size: str) -> Denoiser:
    """Its graph with drawn weights, in fp32."""
    pixels, frames = FORMS[size]
    return make_denoiser(
        folder / f"denoiser-{size}", size=size, pixels=pixels, frames=frames, precision="fp32"
    )


def open_call(denoiser: Denoiser, told: dict[str, Any]) -> Callable[[], object]:
    """What runs the denoiser once."""
    if told["backend"] == "torch":
        return open_torch(denoiser, told)
    backend = load_backend(told["backend"])
    options = EngineOptions(compute=told["compute"], threads=told["threads"], lanes=told["lanes"])
    graph = write_own_graph(denoiser) if told["own"] else denoiser.graph
    engine = backend.open(graph, denoiser.spec, options)
    return lambda: engine(denoiser.inputs)


def write_own_graph(denoiser: Denoiser) -> Path:
    """The graph that a build on this machine chooses, beside the portable one; made once."""
    path = denoiser.graph.with_name(f"{NETWORK}.openvino.onnx")
    if not path.is_file():
        arithmetic = load_backend("openvino").arithmetic()
        chosen = choose_graph(
            FloatGraph(denoiser.graph).model, arithmetic=arithmetic, tell=lambda _: None
        )
        path.write_bytes(chosen.model.SerializeToString())
    return path


def open_torch(denoiser: Denoiser, told: dict[str, Any]) -> Callable[[], object]:
    """Our own module, whose attention is torch's scaled_dot_product_attention."""
    torch.set_num_threads(told["threads"])
    dtype = torch.bfloat16 if told["compute"] == "bf16" else torch.float32
    network: Any = load_modules(denoiser, device="cpu")[told["channels_last"]].to(dtype)
    inputs = [
        torch.from_numpy(np.array(denoiser.inputs[one.name])).to(dtype)
        for one in denoiser.spec.inputs
    ]
    if told["compiled"]:
        import torch._inductor.config as inductor

        inductor.freezing = True
        network = torch.compile(network)

    def call() -> object:
        with torch.no_grad():
            return network(*inputs).float().numpy()

    return call


if __name__ == "__main__":
    main()
