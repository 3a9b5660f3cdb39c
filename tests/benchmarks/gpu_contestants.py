"""The denoiser alone, with drawn weights, and who runs it.

PyTorch eager in its quickest ways, and our engines.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_bundle import WIDTHS, describe_architecture

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.lint.graph_lint import require_clean
from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.engines import EngineSettings, list_builders, load_builder
from echoexport.export.graphs.traces import find_trace
from echoexport.export.graphs.weights import write_weights
from echoexport.export.ort_cuda import GRAPHS_FOR, specialize
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.audio_encoder import position_sinusoids
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError

NETWORK = "denoising_unet"
HELD = ("reference_", "face_feature")
"""Inputs that stay on the device from call to call, for every contestant: the portrait's."""

SIZES = {**{name: widths[0] for name, widths in WIDTHS.items()}, "full": (320, 640, 1280, 1280)}
"""UNet widths by name; "full" is the published network."""

Arrays = dict[str, np.ndarray]
Call = Callable[[], Arrays]
PyTorchWay = tuple[bool, bool]
WAYS: dict[str, PyTorchWay] = {
    "pytorch eager": (False, False),
    "pytorch channels-last": (True, False),
    "pytorch CUDA graph": (False, True),
    "pytorch channels-last, CUDA graph": (True, True),
}
"""(channels-last, CUDA graph) of each; attention is torch's
scaled_dot_product_attention in all of them."""


class DrawnTensor(StoredTensor):
    """Values that are a function of key and shape alone, drawn when they are read.

    Nobody has to hold them all.
    """

    def read(self) -> np.ndarray:
        """Normal, scaled by fan-in; gains about 1.

        Position tables as trained checkpoints have them.
        """
        if self.key.endswith((".pe", "positional_embedding")):
            return position_sinusoids(self.shape)
        seed = int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "little")
        values = np.random.Generator(np.random.PCG64(seed)).standard_normal(
            self.shape, dtype=np.float32
        )
        if len(self.shape) > 1:
            values /= np.float32(math.sqrt(math.prod(self.shape[1:])))
            return values
        return np.asarray(values * np.float32(0.05) + np.float32(self.key.endswith("weight")))


@dataclass(frozen=True)
class Denoiser:
    """A graph with its weights beside it, both sides' inputs, and the architecture."""

    architecture: Architecture
    spec: SubnetSpec
    graph: Path
    weights: Mapping[str, StoredTensor]
    inputs: Mapping[str, np.ndarray]


def make_denoiser(folder: Path, *, size: str, pixels: int, frames: int, precision: str) -> Denoiser:
    """Trace it and write graph and weights to ``folder``, where they are not there yet."""
    base = describe_architecture("half")
    architecture = replace(
        base,
        unet=replace(base.unet, widths=SIZES[size]),
        landmark=replace(base.landmark, out_channels=SIZES[size][0]),
    )
    sizes = size_networks(architecture, size=(pixels, pixels), frames=frames, face="mask")
    spec = describe_networks(sizes, precision=precision)[NETWORK]
    shapes = wanted_shapes(build_network(NETWORK, architecture))
    weights: dict[str, StoredTensor] = {
        key: DrawnTensor(Path("drawn"), key, shape, "float32", 0) for key, shape in shapes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    graph = folder / f"{NETWORK}.onnx"
    if not graph.is_file():
        model = find_trace(spec, architecture, folder=folder.parent / "traces").model
        require_clean(model, spec)
        write_weights(model, weights, path=folder / f"{NETWORK}.bin")
        graph.write_bytes(model.SerializeToString())  # last: a folder with a graph is complete
    return Denoiser(architecture, spec, graph, weights, draw_inputs(spec))


def draw_inputs(spec: SubnetSpec) -> Arrays:
    """Seeded inputs; what belongs to the portrait is frozen, as the runtime's is."""
    draw = np.random.default_rng(7)
    inputs = {}
    for tensor in spec.inputs:
        values = (
            np.ones(tensor.shape)
            if tensor.name == "reference_gate"
            else draw.standard_normal(tensor.shape)
        )
        array = values.astype(tensor.dtype)
        inputs[tensor.name] = freeze(array) if tensor.name.startswith(HELD) else array
    return inputs


class TorchDenoiser:
    """The module on a device.

    Small inputs go up and the velocity comes down at each call, the reference stays.
    """

    def __init__(
        self, denoiser: Denoiser, network: torch.nn.Module, *, recorded: bool, device: str
    ) -> None:
        self._spec = denoiser.spec
        self._network = network
        self._small = [t.name for t in denoiser.spec.inputs if not t.name.startswith(HELD)]
        self._host = {name: torch.from_numpy(denoiser.inputs[name].copy()) for name in self._small}
        self._inputs = {
            t.name: torch.from_numpy(denoiser.inputs[t.name].copy()).to(device)
            for t in denoiser.spec.inputs
        }
        self._graph, self._output = self._record() if recorded else (None, None)

    def __call__(self) -> Arrays:
        """Run once, from the host's arrays to the host's."""
        with torch.inference_mode():
            for name in self._small:
                self._inputs[name].copy_(self._host[name])
            if self._graph is None:
                self._output = self._run()
            else:
                self._graph.replay()
            assert self._output is not None
            return {self._spec.outputs[0].name: self._output.cpu().numpy()}

    def _run(self) -> torch.Tensor:
        output: torch.Tensor = self._network(
            *(self._inputs[tensor.name] for tensor in self._spec.inputs)
        )
        return output

    def _record(self) -> tuple[Any, torch.Tensor]:
        """torch's recipe: a few runs on another stream, then the capture."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self._run()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self._run()
        return graph, output


def load_modules(denoiser: Denoiser, *, device: str) -> dict[bool, torch.nn.Module]:
    """Our own module with the denoiser's weights, as it is (False) and channels-last (True)."""
    plain = _load_module(denoiser, torch.device(device))
    return {False: plain, True: copy.deepcopy(plain).to(memory_format=torch.channels_last)}


def _load_module(denoiser: Denoiser, device: torch.device) -> torch.nn.Module:
    dtype = getattr(torch, denoiser.spec.inputs[0].dtype)
    network = build_network(NETWORK, denoiser.architecture, dtype=denoiser.spec.inputs[0].dtype)
    state = {
        key: torch.from_numpy(np.ascontiguousarray(stored.read())).to(device=device, dtype=dtype)
        for key, stored in denoiser.weights.items()
    }
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def open_engine(
    denoiser: Denoiser, backend: str, *, timeout: float, say: Callable[[str], None]
) -> Network:
    """One of ours, with the graph that a bundle has for it; "NAME plain" with plain operators.

    Engines that have to be built are built first, within ``timeout`` seconds.

    Raises:
        BackendError: it does not work here, or does not build.
    """
    name, _, variant = backend.partition(" ")
    chosen = load_backend(name)
    reason = chosen.unavailable()
    if reason is not None:
        raise BackendError(reason)
    folder = denoiser.graph.parent / f"cache-{name}"
    options = EngineOptions(cache=folder)
    if name.startswith("tensorrt") and name in list_builders():
        engine = denoiser.graph.with_suffix(chosen.engine_suffix)
        settings = EngineSettings(timing_cache=folder / "timing", timeout=timeout)
        folder.mkdir(exist_ok=True)
        load_builder(name).build_engine(
            denoiser.graph, denoiser.spec, engine, settings=settings, report=say
        )
        return Network(denoiser.spec, chosen.open_engine(engine, denoiser.spec, options))
    graph = (
        write_own_graph(denoiser) if name == GRAPHS_FOR and variant != "plain" else denoiser.graph
    )
    return Network(denoiser.spec, chosen.open(graph, denoiser.spec, options))


def write_own_graph(denoiser: Denoiser) -> Path:
    """The graph in the CUDA provider's own operators, beside the plain one.

    Both read the same weights.
    """
    path = denoiser.graph.with_name(f"{NETWORK}.{GRAPHS_FOR}.onnx")
    path.write_bytes(specialize(FloatGraph(denoiser.graph).model)[0].SerializeToString())
    return path
