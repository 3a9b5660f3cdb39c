"""Both UNets against the golden arrays of the original."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from echoexport.export.architecture import Architecture
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.networks import build_network
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks
from echoexport.runtime.sampling.ddim import sinusoid

TOLERANCE = 1e-4  # of each array's largest value; the official code in fp32 against ours

CASES = [
    f"denoising/{guidance}/{face}"
    for guidance in ("nocfg", "cfg")
    for face in ("mask/t1", "mask/t500", "mask/t999", "pose/t500")
]


@pytest.fixture(scope="module")
def reference(bench: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    return bench.banks()


@pytest.fixture(scope="module")
def denoiser(bench: Any, reference: Any) -> nn.Module:
    return bench.network("denoising_unet")


def test_the_reference_unet_gives_the_golden_output_and_banks(
    bench: Any, reference: Any, relative_error: Any
) -> None:
    output, taps = reference
    assert relative_error(output.numpy(), bench.goldens["reference/output"]) < TOLERANCE
    for number, tap in enumerate(taps.values()):
        assert (
            relative_error(tap.bank.numpy(), bench.goldens[f"reference/bank/{number:02d}"])
            < TOLERANCE
        )


def test_banks_come_in_the_golden_order(bench: Any, reference: Any) -> None:
    wanted = [
        str(path).rsplit(".transformer_blocks", 1)[0]
        for path in bench.goldens["reference/write_order"]
    ]
    assert list(reference[1]) == wanted


def test_keys_and_values_are_the_denoisers_own_projections_of_the_banks(
    bench: Any, reference: Any, denoiser: nn.Module
) -> None:
    for path, tap in reference[1].items():
        attention = denoiser.get_submodule(f"{path}.transformer_blocks.0.attn1")
        torch.testing.assert_close(tap.key, attention.to_k(tap.bank), rtol=0, atol=0)  # type: ignore[operator]
        torch.testing.assert_close(tap.value, attention.to_v(tap.bank), rtol=0, atol=0)  # type: ignore[operator]


@pytest.mark.parametrize("case", CASES)
def test_the_denoiser_gives_the_golden_velocity(
    bench: Any, reference: Any, denoiser: nn.Module, relative_error: Any, case: str
) -> None:
    _, guidance, face, step = case.split("/")
    feature = torch.from_numpy(bench.goldens[f"face_locator/{face}_out"])
    latents = bench.input("den_latents")
    audio = bench.input("den_audio")
    gate = torch.ones(1)
    time = torch.from_numpy(sinusoid([int(step[1:])], feature.shape[1]))
    if guidance == "cfg":
        latents = torch.cat([latents] * 2)
        gate = torch.tensor([0.0, 1.0])
        audio = torch.cat([0 * audio, audio])
        feature = torch.cat([0 * feature, feature])
    pairs = [tensor for tap in reference[1].values() for tensor in (tap.key, tap.value)]
    with torch.no_grad():
        velocity = denoiser(latents, time, audio, feature, gate, *pairs)
    assert relative_error(velocity.numpy(), bench.goldens[case]) < TOLERANCE


def test_a_closed_gate_makes_the_whole_denoiser_blind_to_the_reference(
    micro: Architecture, fill: Any, random_inputs: Any, run_torch: Any
) -> None:
    spec = describe_networks(
        size_networks(micro, size=(12, 8), frames=3, face="mask"), precision="fp32"
    )["denoising_unet"]
    network = fill(build_network("denoising_unet", micro), 1)
    inputs = random_inputs(spec, 2)
    other = {
        name: value[..., ::-1].copy() if "reference_" in name and value.ndim == 3 else value
        for name, value in inputs.items()
    }
    opened = [run_torch(network, spec, given)["velocity"] for given in (inputs, other)]
    closed = [
        run_torch(network, spec, {**given, "reference_gate": np.zeros(1, np.float32)})["velocity"]
        for given in (inputs, other)
    ]
    assert not np.allclose(*opened, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(*closed)
