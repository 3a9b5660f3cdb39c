"""The original's way in PyTorch eager, as a backend.

Keys and values of the reference projected inside every call.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.subnets.layers import attend
from echoexport.export.subnets.networks import (
    FlatReferenceUNet,
    build_network,
    load_weights,
    wanted_shapes,
)
from echoexport.export.subnets.transformer import DenoisingBlock, DenoisingContext
from echoexport.export.subnets.unet import ReferenceUNet
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions


class OriginalBlock(DenoisingBlock):
    """Own tokens and the reference bank side by side, projected to keys and values.

    The bank is laid out once for each frame.
    """

    def forward(self, x: Tensor, context: DenoisingContext) -> Tensor:
        """As the parent; both halves of a block's reference are its bank."""
        normed = self.norm1(x)
        bank, _ = context.reference[self.path]
        tokens = torch.cat([normed, bank.repeat(x.shape[0] // bank.shape[0], 1, 1)], dim=1)
        a = self.attn1
        x = a.to_out[0](attend(a.to_q(normed), a.to_k(tokens), a.to_v(tokens), heads=a.heads)) + x
        x = self.attn2(self.norm2(x), context.audio) * self.audio_ratio + x
        return self.ff(self.norm3(x)) + x


class BankUNet(FlatReferenceUNet):
    """The reference UNet giving banks, each twice, in the places of its keys and values."""

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """(1, 4, h, w) to two (1, h*w, c) per transformer."""
        taps = ReferenceUNet.forward(self, latents)[1]
        return tuple(tensor for tap in taps.values() for tensor in (tap.bank, tap.bank))


class TorchEngine(Engine):
    """One module on named arrays."""

    def __init__(self, network: nn.Module, spec: SubnetSpec, *, compute: str) -> None:
        self.precision = compute
        self._network = network
        self._spec = spec
        self._dtype = next(network.parameters()).dtype

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(inputs[t.name]).to(self._dtype) for t in self._spec.inputs]
            values = self._network(*tensors)
        values = values if isinstance(values, tuple) else (values,)
        return {t.name: v.float().numpy() for t, v in zip(self._spec.outputs, values, strict=True)}

    def close(self) -> None:
        """Nothing outlives the object."""


class TorchBackend(Backend):
    """Opens the checkpoint's own modules in place of a bundle's graphs.

    ``compute`` is fp32 or bf16.
    """

    name = "torch"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def unavailable(self) -> str | None:
        """It is what the weights were read with."""
        return None

    def describe(self) -> str:
        """Version and threads."""
        threads = torch.get_num_threads()
        return f"torch {torch.__version__} eager, {threads} threads, K/V inside the call"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> TorchEngine:
        """The graph is not read."""
        network = _build(spec.name, self._checkpoint.architecture)
        stored = self._checkpoint.weights(spec.name, wanted_shapes(network))
        load_weights(
            network, {key: tensor.read().astype(np.float32) for key, tensor in stored.items()}
        )
        if options.compute == "bf16":
            network.to(torch.bfloat16)
        return TorchEngine(network, spec, compute=options.compute)


def _build(name: str, architecture: Architecture) -> nn.Module:
    network = build_network(name, architecture)
    if name == "reference_unet":
        network.__class__ = BankUNet
    for module in network.modules():
        if isinstance(module, DenoisingBlock):
            module.__class__ = OriginalBlock
    return network
