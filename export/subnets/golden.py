"""Golden outputs for a bundle's self-test.

The torch module in fp32, its weights read layer by layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.subnets.networks import build_network
from echoexport.runtime.contract.spec import SubnetSpec


def compute_golden(
    spec: SubnetSpec,
    architecture: Architecture,
    *,
    weights: Mapping[str, StoredTensor],
    inputs: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The network's float32 outputs by name.

    Each layer's weights are read when it runs and dropped after, so that the full-size
    denoiser (5.2 GB in fp32) needs little more memory than its activations.
    """
    network = build_network(spec.name, architecture)
    for prefix, module in network.named_modules():
        _stream_weights(module, prefix, weights=weights)
    arguments = [torch.from_numpy(inputs[t.name].astype(np.float32)) for t in spec.inputs]
    with torch.no_grad():
        outputs = network(*arguments)
    values = outputs if isinstance(outputs, tuple) else (outputs,)
    return {t.name: value.numpy() for t, value in zip(spec.outputs, values, strict=True)}


def _stream_weights(module: nn.Module, prefix: str, *, weights: Mapping[str, StoredTensor]) -> None:
    """Let a module's own parameters and buffers exist only while it runs."""
    own = {
        **dict(module.named_parameters(recurse=False)),
        **dict(module.named_buffers(recurse=False)),
    }
    if not own:
        return

    def load(module: nn.Module, _: Any) -> None:
        for name in own:
            stored = weights[f"{prefix}.{name}" if prefix else name]
            values = torch.from_numpy(np.array(stored.read(), dtype=np.float32))
            _assign(module, name, values)

    def drop(module: nn.Module, _: Any, __: Any) -> None:
        for name, empty in own.items():
            _assign(module, name, empty)

    module.register_forward_pre_hook(load)
    module.register_forward_hook(drop)


def _assign(module: nn.Module, name: str, values: torch.Tensor) -> None:
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(values, requires_grad=False)
    else:
        module._buffers[name] = values
