"""Networks and checkpoints far smaller than tiny, and ways to run them.

What the tests of the export share. torch and onnx are imported where they are used: commands
that need neither are tested without them too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.sizes import size_networks
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.contract.spec import SubnetSpec

if TYPE_CHECKING:
    import onnx
    import torch
    from torch import nn

Arrays = dict[str, np.ndarray]

MICRO = Architecture(
    unet=UNetArchitecture(
        widths=(8, 16),
        heads=(2, 4),
        layers_per_block=1,
        down_attention=(True, False),
        up_attention=(False, True),
        in_channels=4,
        out_channels=4,
        norm_groups=4,
        norm_eps=1e-5,
        audio_width=12,
        audio_ratio=3.0,
        linear_projection=False,
        motion=MotionArchitecture(
            heads=2,
            norm_groups=4,
            max_frames=6,
            attention_blocks=2,
            transformer_blocks=1,
            down=(True, True),
            mid=True,
            up=(True, True),
        ),
    ),
    vae=VAEArchitecture(
        widths=(8, 16),
        layers_per_block=1,
        picture_channels=3,
        latent_channels=4,
        norm_groups=4,
        scaling=0.18215,
    ),
    audio=AudioArchitecture(mels=5, context=9, width=12, heads=3, layers=2),
    landmark=LandmarkArchitecture(in_channels=1, stem=4, channels=(4, 6), out_channels=8),
)


@pytest.fixture(scope="session")
def micro() -> Architecture:
    """The smallest architecture that has every part.

    Two levels, so that latents are half the picture.
    """
    return MICRO


@pytest.fixture
def micro_unet() -> Callable[..., Architecture]:
    """A function that gives the micro architecture with changes to its UNet."""
    return lambda **changes: replace(MICRO, unet=replace(MICRO.unet, **changes))


@pytest.fixture(scope="session")
def fill() -> Callable[[nn.Module, int], nn.Module]:
    """A function that gives a network seeded random values, as large as training would leave."""
    from echoexport.export.subnets.networks import constant_shapes, load_weights, wanted_shapes

    def fill_network(network: nn.Module, seed: int) -> nn.Module:
        random = np.random.default_rng(seed)
        values = {}
        for key, shape in (wanted_shapes(network) | constant_shapes(network)).items():
            noise = random.standard_normal(shape, dtype=np.float32)
            if len(shape) == 1:
                values[key] = 0.1 * noise + (1.0 if key.endswith("weight") else 0.0)
            else:
                values[key] = noise / np.sqrt(np.prod(shape[1:]))
        return load_weights(network, {key: np.asarray(v, np.float32) for key, v in values.items()})

    return fill_network


@pytest.fixture(scope="session")
def stored() -> Callable[[nn.Module], dict[str, StoredTensor]]:
    """A function that gives a network's values as a checkpoint's table."""

    def table(network: nn.Module) -> dict[str, StoredTensor]:
        values = {**network.state_dict(), **dict(network.named_buffers())}
        state = {key: value.numpy() for key, value in values.items()}
        return {
            key: StoredTensor(Path("here"), key, tuple(value.shape), value.dtype.name, 0, value)
            for key, value in state.items()
        }

    return table


@pytest.fixture(scope="session")
def run_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Arrays]:
    """A function that fills a traced graph with a table of weights and runs it in ONNX Runtime."""

    def run(model: onnx.ModelProto, weights: Mapping[str, StoredTensor], inputs: Arrays) -> Arrays:
        import onnxruntime

        from echoexport.export.graphs.weights import embed_constants, write_weights
        from echoexport.export.subnets.graph_builder import weights_file

        folder = tmp_path_factory.mktemp("onnx")
        embed_constants(model, weights)
        write_weights(model, weights, path=folder / weights_file(model.graph.name))
        path = folder / "graph.onnx"
        path.write_bytes(model.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


@pytest.fixture(scope="session")
def random_inputs() -> Callable[[SubnetSpec, int], Arrays]:
    """A function that gives a network seeded standard normal inputs."""

    def make(spec: SubnetSpec, seed: int) -> Arrays:
        random = np.random.default_rng(seed)
        values = {
            tensor.name: random.standard_normal(tensor.shape).astype(tensor.dtype)
            for tensor in spec.inputs
        }
        return (
            {**values, "reference_gate": np.ones(1, spec.inputs[0].dtype)}
            if "reference_gate" in values
            else values
        )

    return make


@pytest.fixture(scope="session")
def run_torch() -> Callable[[nn.Module, SubnetSpec, Arrays], Arrays]:
    """A function that runs a network on named arrays."""

    def run(network: nn.Module, spec: SubnetSpec, inputs: Arrays) -> Arrays:
        import torch

        with torch.no_grad():
            given = network(*(torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs))
        values = given if isinstance(given, tuple) else (given,)
        return {
            tensor.name: value.numpy() for tensor, value in zip(spec.outputs, values, strict=True)
        }

    return run


@pytest.fixture(scope="session")
def relative_error() -> Callable[[np.ndarray, np.ndarray], float]:
    """The largest difference over the largest wanted value."""

    def error(found: np.ndarray, wanted: np.ndarray) -> float:
        assert found.shape == wanted.shape
        return float(np.abs(found - wanted).max() / np.abs(wanted).max())

    return error


@pytest.fixture(scope="session")
def tiny_acc(tiny_checkpoint: Path) -> Checkpoint:
    return open_checkpoint(tiny_checkpoint, "acc")


@pytest.fixture(scope="session")
def load_network() -> Callable[[Checkpoint, str], nn.Module]:
    """A function that gives one of a checkpoint's networks in float32."""
    from echoexport.export.subnets.networks import build_network, load_weights, wanted_shapes

    def load(checkpoint: Checkpoint, name: str) -> nn.Module:
        network = build_network(name, checkpoint.architecture)
        weights = checkpoint.weights(name, wanted_shapes(network))
        return load_weights(
            network, {key: tensor.read().astype(np.float32) for key, tensor in weights.items()}
        )

    return load


@pytest.fixture(scope="session")
def tiny_specs(tiny_acc: Checkpoint) -> Callable[[str], dict[str, SubnetSpec]]:
    """A function of the precision.

    The sizes are those of the tiny bundles, so that their traces serve both.
    """
    sizes = size_networks(tiny_acc.architecture, size=(128, 128), frames=12, face="mask")
    return lambda precision: describe_networks(sizes, precision=precision)


@dataclass
class CheckpointDraft:
    """A micro checkpoint's files as tables, to be spoilt before they are written."""

    folder: Path
    tables: dict[str, Any]
    configs: dict[str, dict[str, Any]]
    settings: str | None = "motion_heads: 2\nmotion_norm_groups: 4\n"

    def write(self) -> Path:
        import torch

        for name, table in self.tables.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".safetensors":
                from safetensors.torch import save_file

                save_file(table, path)
            else:
                torch.save(table, path)
        for name, config in self.configs.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(json.dumps(config), encoding="utf-8")
        if self.settings is not None:
            (self.folder / "echoexport.yaml").write_text(self.settings, encoding="utf-8")
        return self.folder

    def open(self, variant: str = "acc") -> Checkpoint:
        return open_checkpoint(self.write(), variant)


@pytest.fixture(scope="session")
def micro_tables(fill: Callable[[nn.Module, int], nn.Module]) -> dict[str, dict[str, torch.Tensor]]:
    """Random values of the six networks."""
    from echoexport.export.subnets.networks import build_network

    return {
        name: fill(build_network(name, MICRO), seed).state_dict()
        for seed, name in enumerate(FAMILY.required)
    }


@pytest.fixture
def draft(tmp_path: Path, micro_tables: dict[str, dict[str, torch.Tensor]]) -> CheckpointDraft:
    """A micro checkpoint of the acc variant, not written yet.

    Its large files are safetensors, which open quicker.
    """
    import torch

    tables = {
        name: {key: value.clone() for key, value in table.items()}
        for name, table in micro_tables.items()
    }
    vae = {**tables["vae_encoder"], **tables["vae_decoder"]}
    denoising = tables["denoising_unet"]
    audio = MICRO.audio
    dims = {
        "n_mels": audio.mels,
        "n_audio_ctx": audio.context,
        "n_audio_state": audio.width,
        "n_audio_head": audio.heads,
        "n_audio_layer": audio.layers,
    }
    unused = {
        "decoder.token_embedding.weight": torch.zeros(2, 2),
        "encoder.ln_post.weight": torch.ones(12),
    }
    return CheckpointDraft(
        tmp_path / "checkpoint",
        {
            "denoising_unet_acc.safetensors": {
                k: v for k, v in denoising.items() if "motion_modules" not in k
            },
            "motion_module_acc.safetensors": {
                k: v for k, v in denoising.items() if "motion_modules" in k
            },
            "reference_unet.safetensors": {
                k: v for k, v in tables["reference_unet"].items() if ".reader." not in k
            },
            "face_locator.pth": tables["landmark_encoder"],
            "sd-vae-ft-mse/diffusion_pytorch_model.safetensors": vae,
            "audio_processor/whisper_tiny.pt": {
                "dims": dims,
                "model_state_dict": {**tables["audio_encoder"], **unused},
            },
        },
        {
            "sd-image-variations-diffusers/unet/config.json": {
                "act_fn": "silu",
                "attention_head_dim": [2, 4],
                "block_out_channels": [8, 16],
                "cross_attention_dim": 768,
                "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
                "in_channels": 4,
                "out_channels": 4,
                "layers_per_block": 1,
                "norm_eps": 1e-5,
                "norm_num_groups": 4,
            },
            "sd-vae-ft-mse/config.json": {
                "block_out_channels": [8, 16],
                "in_channels": 3,
                "latent_channels": 4,
                "layers_per_block": 1,
                "norm_num_groups": 4,
            },
        },
    )
