"""What is traced passes the runtime's judge: every network, for masks and poses, and live."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoexport.export.architecture import Architecture
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.tracing import trace_network
from echoexport.runtime.bundle.judging.judge import judge_graph
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks


@pytest.mark.parametrize(("face", "precision"), [("mask", "fp32"), ("pose", "fp16")])
def test_every_traced_network_passes(micro: Architecture, face: str, precision: str) -> None:
    sizes = size_networks(micro, size=(14, 10), frames=3, face=face, live=True)
    specs = describe_networks(sizes, precision=precision)
    assert "denoising_unet_live" in specs
    for name, spec in specs.items():
        model = trace_network(spec, micro)
        places = [
            {entry.key: entry.value for entry in tensor.external_data}
            for tensor in model.graph.initializer
            if tensor.external_data
        ]
        judge_graph(
            model.SerializeToString(),
            spec,
            path=Path(f"{name}.onnx"),
            weights_name=places[0]["location"],
            weights_bytes=max(int(one["offset"]) + int(one["length"]) for one in places),
        )
