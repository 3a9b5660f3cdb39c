"""Every exported network on every engine: fp32 against the original's recorded arrays, fp16 against our own modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.sizes import size_networks
from echoexport.export.weights import write_weights
from echoexport.runtime import open_bundle
from echoexport.runtime.audio_tokens import encode_features
from echoexport.runtime.backends import EngineOptions, load_backend
from echoexport.runtime.network import Network
from echoexport.runtime.scheduler import sinusoid
from echoexport.runtime.spec import NETWORKS, SubnetSpec, describe_networks

pytestmark = pytest.mark.slow

FP32 = 2e-4
ONE_THREAD = EngineOptions(threads=1)  # tests run side by side
DENOISED = [("nocfg", "mask", 999), ("nocfg", "mask", 500), ("nocfg", "mask", 1), ("nocfg", "pose", 500)]
GUIDED = [("cfg", "mask", 999), ("cfg", "mask", 500), ("cfg", "mask", 1), ("cfg", "pose", 500)]


class Networks:
    """Single networks of the tiny acc checkpoint at the goldens' shapes, each opened once."""

    def __init__(self, folder: Path, checkpoint: Path, *, backend: str, trace: Callable[..., Any]) -> None:
        self.folder = folder
        self.checkpoint = checkpoint
        self.backend = load_backend(backend)
        self.trace = trace
        self.checkpoints: dict[str, Checkpoint] = {}
        self.opened: dict[tuple[Any, ...], Network] = {}

    def open(self, name: str, *, variant: str = "acc", side: int = 128, face: str = "mask", frames: int = 5) -> Network:
        key = (name, variant, side, face)
        if key not in self.opened:
            opened = self.read(variant)
            sizes = size_networks(opened.architecture, size=(side, side), frames=frames, face=face)
            spec = describe_networks(sizes, precision="fp32")[name]
            self.opened[key] = self._build(opened, spec, folder=self.folder / "-".join(map(str, key)))
        return self.opened[key]

    def read(self, variant: str) -> Checkpoint:
        if variant not in self.checkpoints:
            self.checkpoints[variant] = open_checkpoint(self.checkpoint, variant)
        return self.checkpoints[variant]

    def _build(self, opened: Checkpoint, spec: SubnetSpec, *, folder: Path) -> Network:
        from echoexport.export.subnets.networks import build_network, wanted_shapes

        folder.mkdir()
        model = self.trace(spec, opened.architecture).model
        weights = opened.weights(spec.name, wanted_shapes(build_network(spec.name, opened.architecture)))
        write_weights(model, weights, path=folder / f"{spec.name}.bin")
        path = folder / f"{spec.name}.onnx"
        path.write_bytes(model.SerializeToString())
        return Network(spec, self.backend.open(path, spec, ONE_THREAD))


@pytest.fixture(scope="module", params=["ort", "openvino"])
def networks(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_checkpoint: Path,
    trace_once: Callable[..., Any],
) -> Iterator[Networks]:
    folder = tmp_path_factory.mktemp(request.param)
    found = Networks(folder, tiny_checkpoint, backend=request.param, trace=trace_once)
    yield found
    for network in found.opened.values():
        network.close()


@pytest.fixture
def inputs(goldens_tiny: Any, echo_reference: Any) -> Callable[..., np.ndarray]:
    """The goldens' inputs by name, scaled."""

    def make(name: str, scale: float = 1.0) -> np.ndarray:
        return np.asarray(echo_reference.reference_input(name, tuple(goldens_tiny.meta["inputs"][name][0]), scale))

    return make


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_the_vae_encodes_as_recorded(networks: Networks, goldens_tiny: Any, inputs: Callable[..., np.ndarray]) -> None:
    picture = np.clip(inputs("vae_image", 0.5), -1, 1)
    found = networks.open("vae_encoder", side=64)({"picture": picture})["latents"]
    assert relative_error(found, goldens_tiny["vae/encode/latents"]) <= FP32


def test_the_vae_decodes_as_recorded(networks: Networks, goldens_tiny: Any, inputs: Callable[..., np.ndarray]) -> None:
    found = networks.open("vae_decoder", side=64)({"latents": inputs("vae_latent", 0.8)})["picture"]
    assert relative_error(found, goldens_tiny["vae/decode/sample"]) <= FP32


def test_the_reference_unet_gives_the_recorded_banks_projected_by_the_denoisers_weights(
    networks: Networks, goldens_tiny: Any, inputs: Callable[..., np.ndarray]
) -> None:
    found = networks.open("reference_unet")({"latents": inputs("ref_latents", 0.8)})
    denoising = networks.read("acc").denoising
    for number, module in enumerate(goldens_tiny["reference/write_order"].tolist()):
        bank = goldens_tiny[f"reference/bank/{number:02d}"]
        path = module.rsplit(".transformer_blocks", 1)[0]
        for kind, projection in (("key", "to_k"), ("value", "to_v")):
            weight = denoising[f"{path}.transformer_blocks.0.attn1.{projection}.weight"].read().astype(np.float32)
            assert relative_error(found[f"reference_{kind}.{path}"], bank @ weight.T) <= FP32


def test_a_still_mask_gives_the_recorded_feature(networks: Networks, goldens_tiny: Any) -> None:
    shape, (x0, y0, x1, y1) = goldens_tiny.meta["inputs"]["mask"][0], goldens_tiny.meta["conf"]["rect"]
    mask = np.zeros(shape, np.float32)[:, :, 0]
    mask[..., y0:y1, x0:x1] = 1
    found = networks.open("landmark_encoder")({"face_map": mask})["face_feature"]
    assert relative_error(found[:, :, None], goldens_tiny["face_locator/mask_out"]) <= FP32


def test_pose_maps_give_the_recorded_features(
    networks: Networks, goldens_tiny: Any, inputs: Callable[..., np.ndarray]
) -> None:
    maps = np.clip(0.5 + 0.25 * inputs("pose_map"), 0, 1).astype(np.float32)
    network = networks.open("landmark_encoder", variant="pose_acc", face="pose")
    found = [network({"face_map": maps[:, :, frame]})["face_feature"] for frame in range(maps.shape[2])]
    assert relative_error(np.stack(found, axis=2), goldens_tiny["face_locator/pose_out"]) <= FP32


def test_the_audio_encoder_gives_the_recorded_features(networks: Networks, goldens_tiny: Any) -> None:
    network = networks.open("audio_encoder")
    found = encode_features(goldens_tiny["audio/log_mel"], lambda mel: network({"log_mel": mel})["audio_states"])
    assert relative_error(found, goldens_tiny["audio/features"]) <= FP32


def denoise(
    networks: Networks, inputs: Callable[..., np.ndarray], *, face: np.ndarray, timestep: int, gate: float
) -> np.ndarray:
    """One call at the goldens' inputs; gate 0 is the unconditional half, which hears and sees nothing.

    The graph takes a face feature for each frame; a still mask's is the same for all, as the original adds it.
    """
    network = networks.open("denoising_unet", face="pose")
    reference = networks.open("reference_unet")({"latents": inputs("ref_latents", 0.8)})
    audio = inputs("den_audio")
    sample = inputs("den_latents")
    feature = np.broadcast_to(face, (*face.shape[:2], sample.shape[2], *face.shape[3:]))
    return network(
        {
            "latents": sample,
            "timestep_sinusoid": sinusoid([timestep], face.shape[1]),
            "audio_tokens": audio * np.float32(gate),
            "face_feature": feature * np.float32(gate),
            "reference_gate": np.full(1, gate, np.float32),
            **reference,
        }
    )["velocity"]


@pytest.mark.parametrize(("guidance", "face", "timestep"), DENOISED)
def test_the_denoiser_gives_the_recorded_velocity(
    networks: Networks, goldens_tiny: Any, inputs: Callable[..., np.ndarray], guidance: str, face: str, timestep: int
) -> None:
    feature = goldens_tiny[f"face_locator/{face}_out"]
    found = denoise(networks, inputs, face=feature, timestep=timestep, gate=1.0)
    assert relative_error(found, goldens_tiny[f"denoising/{guidance}/{face}/t{timestep}"]) <= FP32


@pytest.mark.parametrize(("guidance", "face", "timestep"), GUIDED)
def test_two_calls_give_the_recorded_halves_of_a_guided_one(
    networks: Networks, goldens_tiny: Any, inputs: Callable[..., np.ndarray], guidance: str, face: str, timestep: int
) -> None:
    feature = goldens_tiny[f"face_locator/{face}_out"]
    halves = [denoise(networks, inputs, face=feature, timestep=timestep, gate=gate) for gate in (0.0, 1.0)]
    assert relative_error(np.concatenate(halves), goldens_tiny[f"denoising/{guidance}/{face}/t{timestep}"]) <= FP32


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("precision", "backend"), [("fp32", "ort"), ("fp16", "ort"), ("fp16", "openvino")]
)  # openvino in fp32 is held to the recorded arrays above and by the whole pipelines
def test_an_engine_agrees_with_the_torch_module_it_was_traced_from(
    build_tiny: Callable[..., Path], precision: str, backend: str, name: str
) -> None:
    with open_bundle(build_tiny("acc", precision=precision), backend=backend, options=ONE_THREAD) as bundle:
        result = bundle.self_test(name)
    print(f"{precision} {backend} {name}: {result.error:.1e} of {result.tolerance:.0e}")
    assert result.precision == precision
    assert result.passed, f"off by {result.error:.1e} of the maximum"


def test_an_fp16_engine_is_not_secretly_an_fp32_one(build_tiny: Callable[..., Path]) -> None:
    manifests = [build_tiny("acc", precision=precision) for precision in ("fp32", "fp16")]
    sizes = [(folder / "denoising_unet.bin").stat().st_size for folder in manifests]
    assert sizes[1] < 0.52 * sizes[0]
