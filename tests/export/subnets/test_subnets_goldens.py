"""Our torch modules against the golden arrays of the original's networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.golden import compute_golden
from echoexport.export.subnets.networks import build_network, load_weights
from echoexport.export.subnets.transformer import DenoisingContext
from echoexport.export.subnets.unet import ReferenceUNet
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks
from echoexport.runtime.sampling.ddim import sinusoid

TOLERANCE = 1e-4  # of each array's largest value; the official code in fp32 against ours

CASES = [
    f"denoising/{guidance}/{face}"
    for guidance in ("nocfg", "cfg")
    for face in ("mask/t1", "mask/t500", "mask/t999", "pose/t500")
]


@dataclass
class Bench:
    """The networks of one checkpoint beside the goldens of its size.

    One network in memory at a time.
    """

    goldens: Any
    reference: Any
    checkpoint: Checkpoint
    load: Callable[[Checkpoint, str], nn.Module]

    def network(self, name: str) -> nn.Module:
        return self.load(self.checkpoint, name)

    def input(self, name: str, scale: float = 1.0) -> torch.Tensor:
        shape = self.goldens.meta["inputs"][name][0]
        return torch.from_numpy(self.reference.reference_input(name, shape, scale))

    def mask(self) -> torch.Tensor:
        left, top, right, bottom = self.goldens.meta["conf"]["rect"]
        mask = torch.zeros(self.goldens.meta["inputs"]["mask"][0])
        mask[..., top:bottom, left:right] = 1.0
        return mask

    def pose_locator(self) -> nn.Module:
        """The goldens' own: the pose variants' face locator beside the acc variant's denoiser."""
        tensors = self.reference.checkpoint_tensors(
            "face_locator_pose", size=self.goldens.meta["size"]
        )
        a = self.checkpoint.architecture
        pose = replace(a, landmark=replace(a.landmark, in_channels=3))
        return load_weights(build_network("landmark_encoder", pose), tensors)

    def banks(self) -> tuple[torch.Tensor, dict[str, Any]]:
        with torch.no_grad():
            return ReferenceUNet.forward(
                self.network("reference_unet"), self.input("ref_latents", 0.8)
            )  # type: ignore[arg-type]


@pytest.fixture(
    scope="module",
    params=["tiny", pytest.param("full", marks=[pytest.mark.full, pytest.mark.slow])],
)
def bench(request: pytest.FixtureRequest, echo_reference: Any, load_network: Any) -> Bench:
    goldens = request.getfixturevalue(f"goldens_{request.param}")
    folder = request.getfixturevalue(f"{request.param}_checkpoint")
    checkpoint = open_checkpoint(folder, "acc")
    return Bench(goldens, echo_reference, checkpoint, load_network)


@pytest.fixture(scope="module")
def reference(bench: Bench) -> tuple[torch.Tensor, dict[str, Any]]:
    return bench.banks()


@pytest.fixture(scope="module")
def denoiser(bench: Bench, reference: Any) -> nn.Module:
    return bench.network("denoising_unet")


def test_the_vae_encoder_gives_the_golden_moments(bench: Bench, relative_error: Any) -> None:
    picture = torch.clamp(bench.input("vae_image", 0.5), -1, 1)
    encoder = bench.network("vae_encoder")
    with torch.no_grad():
        moments = encoder.moments(picture).clamp(-30, 20)
        latents = encoder(picture)
    wanted = bench.goldens["vae/encode/moments"]
    half = wanted.shape[1] // 2
    assert relative_error(moments.numpy()[:, :half], wanted[:, :half]) < TOLERANCE
    assert relative_error(moments.numpy()[:, half:], wanted[:, half:]) < TOLERANCE
    assert relative_error(latents.numpy(), bench.goldens["vae/encode/latents"]) < TOLERANCE


def test_the_vae_decoder_gives_the_golden_picture(bench: Bench, relative_error: Any) -> None:
    with torch.no_grad():
        picture = bench.network("vae_decoder")(bench.input("vae_latent", 0.8))
    assert relative_error(picture.numpy(), bench.goldens["vae/decode/sample"]) < TOLERANCE


def test_the_reference_unet_gives_the_golden_output_and_banks(
    bench: Bench, reference: Any, relative_error: Any
) -> None:
    output, taps = reference
    assert relative_error(output.numpy(), bench.goldens["reference/output"]) < TOLERANCE
    for number, tap in enumerate(taps.values()):
        assert (
            relative_error(tap.bank.numpy(), bench.goldens[f"reference/bank/{number:02d}"])
            < TOLERANCE
        )


def test_banks_come_in_the_golden_order(bench: Bench, reference: Any) -> None:
    wanted = [
        str(path).rsplit(".transformer_blocks", 1)[0]
        for path in bench.goldens["reference/write_order"]
    ]
    assert list(reference[1]) == wanted


def test_keys_and_values_are_the_denoisers_own_projections_of_the_banks(
    bench: Bench, reference: Any, denoiser: nn.Module
) -> None:
    for path, tap in reference[1].items():
        attention = denoiser.get_submodule(f"{path}.transformer_blocks.0.attn1")
        torch.testing.assert_close(tap.key, attention.to_k(tap.bank), rtol=0, atol=0)  # type: ignore[operator]
        torch.testing.assert_close(tap.value, attention.to_v(tap.bank), rtol=0, atol=0)  # type: ignore[operator]


def test_the_mask_gives_the_golden_face_feature(bench: Bench, relative_error: Any) -> None:
    with torch.no_grad():
        feature = bench.network("landmark_encoder")(bench.mask()[:, :, 0])
    assert (
        relative_error(feature.numpy()[:, :, None], bench.goldens["face_locator/mask_out"])
        < TOLERANCE
    )


def test_pose_maps_give_the_golden_face_features(bench: Bench, relative_error: Any) -> None:
    maps = torch.clamp(0.5 + bench.input("pose_map", 0.25), 0, 1)
    with torch.no_grad():
        features = bench.pose_locator()(maps[0].transpose(0, 1))
    found = features.numpy().swapaxes(0, 1)[None]
    assert relative_error(found, bench.goldens["face_locator/pose_out"]) < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_denoiser_gives_the_golden_velocity(
    bench: Bench, reference: Any, denoiser: nn.Module, relative_error: Any, case: str
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


def test_the_audio_encoder_gives_the_golden_features(
    tiny_acc: Checkpoint, load_network: Any, goldens_tiny: Any, relative_error: Any
) -> None:
    mel = goldens_tiny["audio/log_mel"]
    padded = np.zeros((1, mel.shape[0], 3000), np.float32)
    padded[0, :, : mel.shape[1]] = mel
    with torch.no_grad():
        states = load_network(tiny_acc, "audio_encoder")(torch.from_numpy(padded)).numpy()[0]
    found = states[:, : mel.shape[1] // 2].swapaxes(0, 1)
    assert relative_error(found, goldens_tiny["audio/features"]) < TOLERANCE


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
