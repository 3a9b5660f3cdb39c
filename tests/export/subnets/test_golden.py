"""Golden outputs, computed with weights that are read layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echoexport.export.architecture import Architecture
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.golden import compute_golden
from echoexport.export.subnets.networks import build_network
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks

TOLERANCE = 1e-4  # of each array's largest value; the official code in fp32 against ours


@pytest.mark.parametrize(
    "name", ["vae_encoder", "reference_unet", "landmark_encoder", "audio_encoder"]
)
def test_golden_outputs_are_those_of_the_network_with_all_its_weights_loaded(
    micro: Architecture, fill: Any, stored: Any, random_inputs: Any, run_torch: Any, name: str
) -> None:
    spec = describe_networks(
        size_networks(micro, size=(12, 8), frames=3, face="mask"), precision="fp32"
    )[name]
    network = fill(build_network(name, micro), 3)
    inputs = random_inputs(spec, 4)
    found = compute_golden(spec, micro, weights=stored(network), inputs=inputs)
    wanted = run_torch(network, spec, inputs)
    assert list(found) == list(wanted)
    for output, value in wanted.items():
        np.testing.assert_allclose(found[output], value, rtol=1e-5, atol=1e-6)
