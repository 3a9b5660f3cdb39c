"""The networks in the form that is exported.

Flat, named tensors in and out, as their specs say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from echoexport.export.architecture import Architecture
from echoexport.export.subnets.audio_encoder import AudioEncoder
from echoexport.export.subnets.landmark_encoder import LandmarkEncoder
from echoexport.export.subnets.live_audio import LiveAudioEncoder
from echoexport.export.subnets.live_denoiser import LiveDenoisingUNet
from echoexport.export.subnets.unet import DenoisingUNet, ReferenceUNet
from echoexport.export.subnets.vae import VAEDecoder, VAEEncoder


class FlatReferenceUNet(ReferenceUNet):
    """The reference UNet giving key, value, key, value, ... in the order the transformers run."""

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """(1, 4, h, w) to two (1, h*w, c) per transformer.

        What only feeds the unused output drops out.
        """
        taps = super().forward(latents)[1]
        return tuple(tensor for tap in taps.values() for tensor in (tap.key, tap.value))


class FlatDenoisingUNet(DenoisingUNet):
    """The denoising UNet taking keys and values as trailing arguments."""

    def forward(  # type: ignore[override]
        self,
        latents: Tensor,
        sinusoid: Tensor,
        audio: Tensor,
        face: Tensor,
        gate: Tensor,
        *reference: Tensor,
    ) -> Tensor:
        """As :class:`DenoisingUNet`, with ``reference`` as key, value, key, value, ...

        In the order of paths.
        """
        pairs = self.pair_reference(reference)
        return super().forward(latents, sinusoid, audio, face, gate, pairs)


_BUILDERS: dict[str, Callable[[Architecture], nn.Module]] = {
    "vae_encoder": lambda a: VAEEncoder(a.vae),
    "reference_unet": lambda a: FlatReferenceUNet(a.unet),
    "landmark_encoder": lambda a: LandmarkEncoder(a.landmark),
    "audio_encoder": lambda a: AudioEncoder(a.audio),
    "denoising_unet": lambda a: FlatDenoisingUNet(a.unet),
    "vae_decoder": lambda a: VAEDecoder(a.vae),
    "audio_encoder_live": lambda a: LiveAudioEncoder(a.audio),
    "denoising_unet_live": lambda a: LiveDenoisingUNet(a.unet),
}


def build_network(
    name: str, architecture: Architecture, *, device: str = "meta", dtype: str = "float32"
) -> nn.Module:
    """One of them, in evaluation mode; on the meta device it holds shapes and no values."""
    with torch.device(device):
        network = _BUILDERS[name](architecture)
    return network.to(getattr(torch, dtype)).eval().requires_grad_(False)


def wanted_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter and persistent buffer, by the checkpoint's names."""
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def constant_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of every buffer that no checkpoint has, by name."""
    kept = wanted_shapes(network)
    return {
        name: tuple(tensor.shape) for name, tensor in network.named_buffers() if name not in kept
    }


def load_weights(network: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Give a network (built on any device) its values; every key is wanted.

    So is every buffer that no checkpoint has.
    """
    dtype = next(network.parameters()).dtype
    tensors = {
        key: torch.from_numpy(np.ascontiguousarray(value)).to(dtype)
        for key, value in weights.items()
    }
    for name in constant_shapes(network):
        owner, _, own = name.rpartition(".")
        setattr(network.get_submodule(owner), own, tensors.pop(name))
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)
