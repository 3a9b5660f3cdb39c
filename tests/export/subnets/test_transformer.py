"""Blocks of the denoiser: what the gate shuts out."""

from __future__ import annotations

from typing import Any

import torch

from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.subnets.transformer import DenoisingContext

TOLERANCE = 1e-4  # of each array's largest value; the official code in fp32 against ours


def test_a_closed_gate_is_plain_self_attention(
    tiny_acc: Checkpoint, load_network: Any, echo_reference: Any, relative_error: Any
) -> None:
    network = load_network(tiny_acc, "denoising_unet")
    block = network.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0")
    shape = (6, 20, block.norm1.normalized_shape[0])  # type: ignore[union-attr, index]
    tokens = torch.from_numpy(echo_reference.reference_input("gate/tokens", shape))
    given = torch.from_numpy(
        echo_reference.reference_input("gate/reference", (1, *shape[1:]), 50.0)
    )
    audio = torch.zeros(6, 50, 384)
    results = {}
    for gate in (0.0, 1.0):
        context = DenoisingContext(1, 6, audio, torch.tensor([gate]), {block.path: (given, given)})  # type: ignore[dict-item]
        with torch.no_grad():
            results[gate] = block(tokens, context).numpy()
    with torch.no_grad():
        x = block.attn1(block.norm1(tokens)) + tokens  # type: ignore[operator]
        x = block.attn2(block.norm2(x), audio) * block.audio_ratio + x  # type: ignore[operator]
        wanted = (block.ff(block.norm3(x)) + x).numpy()  # type: ignore[operator]
    assert relative_error(results[0.0], wanted) < 1e-6
    assert relative_error(results[1.0], wanted) > 0.1
