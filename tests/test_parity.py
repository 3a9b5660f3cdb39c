"""Every exported network on every engine.

fp32 against the original's recorded arrays, fp16 against our own modules.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.graphs.weights import write_weights
from echoexport.export.sizes import size_networks
from echoexport.runtime import open_bundle
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.conditioning.audio_tokens import encode_features
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.sampling.ddim import sinusoid

pytestmark = pytest.mark.slow

FP32 = 2e-4
ONE_THREAD = EngineOptions(threads=1)  # tests run side by side
DENOISED = [
    ("nocfg", "mask", 999),
    ("nocfg", "mask", 500),
    ("nocfg", "mask", 1),
    ("nocfg", "pose", 500),
]
GUIDED = [("cfg", "mask", 999), ("cfg", "mask", 500), ("cfg", "mask", 1), ("cfg", "pose", 500)]


class Networks:
    """Single networks of an acc checkpoint at the goldens' shapes, each opened once.

    At full size they are opened one at a time.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint: Path,
        *,
        goldens: Any,
        backend: str,
        trace: Callable[..., Any],
    ) -> None:
        self.goldens = goldens
        self.frames = goldens.meta["inputs"]["den_latents"][0][2]
        self.side = 8 * goldens.meta["inputs"]["den_latents"][0][3]
        self.folder = folder
        self.checkpoint = checkpoint
        self.backend = load_backend(backend)
        self.trace = trace
        self.checkpoints: dict[str, Checkpoint] = {}
        self.opened: dict[tuple[Any, ...], Network] = {}
        self.make_input: Callable[..., Any] = lambda *_: None

    def open(
        self, name: str, *, variant: str = "acc", side: int | None = None, face: str = "mask"
    ) -> Network:
        side = self.side if side is None else side
        key = (name, variant, side, face)
        if key not in self.opened:
            if self.goldens.meta["size"] == "full":  # one full-size engine takes up to 11 GB
                self.close()
            opened = self.read(variant)
            sizes = size_networks(
                opened.architecture, size=(side, side), frames=self.frames, face=face
            )
            spec = describe_networks(sizes, precision="fp32")[name]
            self.opened[key] = self._build(
                opened, spec, folder=self.folder / "-".join(map(str, key))
            )
        return self.opened[key]

    @functools.cached_property
    def reference(self) -> dict[str, np.ndarray]:
        """The goldens' keys and values, computed once."""
        return self.open("reference_unet")({"latents": self.input("ref_latents", 0.8)})

    def input(self, name: str, scale: float = 1.0) -> np.ndarray:
        """A golden input by name, scaled."""
        return np.asarray(self.make_input(name, tuple(self.goldens.meta["inputs"][name][0]), scale))

    def close(self) -> None:
        for network in self.opened.values():
            network.close()
        self.opened.clear()

    def read(self, variant: str) -> Checkpoint:
        if variant not in self.checkpoints:
            self.checkpoints[variant] = open_checkpoint(self.checkpoint, variant)
        return self.checkpoints[variant]

    def _build(self, opened: Checkpoint, spec: SubnetSpec, *, folder: Path) -> Network:
        from echoexport.export.subnets.networks import build_network, wanted_shapes

        folder.mkdir(exist_ok=True)
        model = self.trace(spec, opened.architecture).model
        weights = opened.weights(
            spec.name, wanted_shapes(build_network(spec.name, opened.architecture))
        )
        write_weights(model, weights, path=folder / f"{spec.name}.bin")
        path = folder / f"{spec.name}.onnx"
        path.write_bytes(model.SerializeToString())
        return Network(spec, self.backend.open(path, spec, ONE_THREAD))


FULL = [pytest.mark.full, pytest.mark.slow]


@pytest.fixture(
    scope="module",
    params=[
        "tiny-ort",
        "tiny-openvino",
        pytest.param("full-ort", marks=FULL),
        pytest.param("full-openvino", marks=FULL),
    ],
)
def networks(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    trace_once: Callable[..., Any],
    echo_reference: Any,
) -> Iterator[Networks]:
    size, backend = request.param.split("-")
    goldens = request.getfixturevalue(f"goldens_{size}")
    checkpoint = request.getfixturevalue(f"{size}_checkpoint")
    folder = tmp_path_factory.mktemp(request.param)
    found = Networks(folder, checkpoint, goldens=goldens, backend=backend, trace=trace_once)
    found.make_input = echo_reference.reference_input
    yield found
    found.close()
    shutil.rmtree(folder)  # 9 GB at full size


def skip_at_full_size(networks: Networks, reason: str) -> None:
    if networks.goldens.meta["size"] == "full":
        pytest.skip(reason)


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_the_vae_encodes_as_recorded(networks: Networks) -> None:
    picture = np.clip(networks.input("vae_image", 0.5), -1, 1)
    found = networks.open("vae_encoder", side=64)({"picture": picture})["latents"]
    assert relative_error(found, networks.goldens["vae/encode/latents"]) <= FP32


def test_the_vae_decodes_as_recorded(networks: Networks) -> None:
    found = networks.open("vae_decoder", side=64)({"latents": networks.input("vae_latent", 0.8)})[
        "picture"
    ]
    assert relative_error(found, networks.goldens["vae/decode/sample"]) <= FP32


def test_the_reference_unet_gives_the_recorded_banks_projected_by_the_denoisers_weights(
    networks: Networks,
) -> None:
    found = networks.reference
    denoising = networks.read("acc").denoising
    for number, module in enumerate(networks.goldens["reference/write_order"].tolist()):
        bank = networks.goldens[f"reference/bank/{number:02d}"]
        path = module.rsplit(".transformer_blocks", 1)[0]
        for kind, projection in (("key", "to_k"), ("value", "to_v")):
            weight = (
                denoising[f"{path}.transformer_blocks.0.attn1.{projection}.weight"]
                .read()
                .astype(np.float32)
            )
            assert relative_error(found[f"reference_{kind}.{path}"], bank @ weight.T) <= FP32


def test_a_still_mask_gives_the_recorded_feature(networks: Networks) -> None:
    shape = networks.goldens.meta["inputs"]["mask"][0]
    (x0, y0, x1, y1) = networks.goldens.meta["conf"]["rect"]
    mask = np.zeros(shape, np.float32)[:, :, 0]
    mask[..., y0:y1, x0:x1] = 1
    found = networks.open("landmark_encoder")({"face_map": mask})["face_feature"]
    assert relative_error(found[:, :, None], networks.goldens["face_locator/mask_out"]) <= FP32


def test_pose_maps_give_the_recorded_features(networks: Networks) -> None:
    skip_at_full_size(networks, "the checkpoint holds variant acc alone")
    maps = np.clip(0.5 + 0.25 * networks.input("pose_map"), 0, 1).astype(np.float32)
    network = networks.open("landmark_encoder", variant="pose_acc", face="pose")
    found = [
        network({"face_map": maps[:, :, frame]})["face_feature"] for frame in range(maps.shape[2])
    ]
    assert (
        relative_error(np.stack(found, axis=2), networks.goldens["face_locator/pose_out"]) <= FP32
    )


def test_the_audio_encoder_gives_the_recorded_features(networks: Networks) -> None:
    skip_at_full_size(networks, "the goldens' audio part is the same at both sizes")
    network = networks.open("audio_encoder")
    found = encode_features(
        networks.goldens["audio/log_mel"], lambda mel: network({"log_mel": mel})["audio_states"]
    )
    assert relative_error(found, networks.goldens["audio/features"]) <= FP32


def denoise(networks: Networks, *, face: np.ndarray, timestep: int, gate: float) -> np.ndarray:
    """One call at the goldens' inputs.

    Gate 0 is the unconditional half, which hears and sees nothing.

    The graph takes a face feature for each frame; a still mask's is the same for all,
    as the original adds it.
    """
    reference = networks.reference  # first, so that at full size the denoiser is the one left open
    network = networks.open("denoising_unet", face="pose")
    audio = networks.input("den_audio")
    sample = networks.input("den_latents")
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
    networks: Networks, guidance: str, face: str, timestep: int
) -> None:
    feature = networks.goldens[f"face_locator/{face}_out"]
    found = denoise(networks, face=feature, timestep=timestep, gate=1.0)
    assert (
        relative_error(found, networks.goldens[f"denoising/{guidance}/{face}/t{timestep}"]) <= FP32
    )


@pytest.mark.parametrize(("guidance", "face", "timestep"), GUIDED)
def test_two_calls_give_the_recorded_halves_of_a_guided_one(
    networks: Networks, guidance: str, face: str, timestep: int
) -> None:
    feature = networks.goldens[f"face_locator/{face}_out"]
    halves = [denoise(networks, face=feature, timestep=timestep, gate=gate) for gate in (0.0, 1.0)]
    assert (
        relative_error(
            np.concatenate(halves), networks.goldens[f"denoising/{guidance}/{face}/t{timestep}"]
        )
        <= FP32
    )


@pytest.mark.parametrize("name", FAMILY.required)
# Openvino in fp32 is held to the recorded arrays above and by the whole pipelines.
@pytest.mark.parametrize(
    ("precision", "backend"), [("fp32", "ort"), ("fp16", "ort"), ("fp16", "openvino")]
)
def test_an_engine_agrees_with_the_torch_module_it_was_traced_from(
    build_tiny: Callable[..., Path], precision: str, backend: str, name: str
) -> None:
    with open_bundle(
        build_tiny("acc", precision=precision), backend=backend, options=ONE_THREAD
    ) as bundle:
        result = bundle.self_test(name)
    print(f"{precision} {backend} {name}: {result.error:.1e} of {result.tolerance:.0e}")
    assert result.precision == precision
    assert result.passed, f"off by {result.error:.1e} of the maximum"


def test_an_fp16_engine_is_not_secretly_an_fp32_one(build_tiny: Callable[..., Path]) -> None:
    manifests = [build_tiny("acc", precision=precision) for precision in ("fp32", "fp16")]
    sizes = [(folder / "denoising_unet.bin").stat().st_size for folder in manifests]
    assert sizes[1] < 0.52 * sizes[0]
