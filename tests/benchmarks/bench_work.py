"""Operations and bytes of the full-size networks, counted from their graphs.

No weights are needed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from results_file import parse_arguments, write_results

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.graphs.count_work import count_work
from echoexport.export.graphs.traces import find_trace
from echoexport.export.sizes import size_networks
from echoexport.profiles.modelling.module_groups import split_group
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks
from echoexport.runtime.contract.network_work import NetworkWork
from echoexport.runtime.files.cache_folders import find_cache_folder

FRAMES = 12

FULL = Architecture(
    unet=UNetArchitecture(
        widths=(320, 640, 1280, 1280),
        heads=(8, 8, 8, 8),
        layers_per_block=2,
        down_attention=(True, True, True, False),
        up_attention=(False, True, True, True),
        in_channels=4,
        out_channels=4,
        norm_groups=32,
        norm_eps=1e-5,
        audio_width=384,
        audio_ratio=3.0,
        linear_projection=False,
        motion=MotionArchitecture(
            heads=8,
            norm_groups=32,
            max_frames=32,
            attention_blocks=2,
            transformer_blocks=1,
            down=(True,) * 4,
            mid=True,
            up=(True,) * 4,
        ),
    ),
    vae=VAEArchitecture(
        widths=(128, 256, 512, 512),
        layers_per_block=2,
        picture_channels=3,
        latent_channels=4,
        norm_groups=32,
        scaling=0.18215,
    ),
    audio=AudioArchitecture(mels=80, context=1500, width=384, heads=6, layers=4),
    landmark=LandmarkArchitecture(
        in_channels=1, stem=16, channels=(16, 32, 32, 96, 96, 256), out_channels=320
    ),
)
"""EchoMimic v1 as published, with Whisper-tiny."""


def main() -> None:
    """Trace, count, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[256, 512], help="sides of the picture in pixels"
    )
    parser.add_argument(
        "--traces", type=Path, default=find_cache_folder("traces"), help="folder of kept traces"
    )
    arguments = parse_arguments(parser, name="work_full_size")
    sizes = {str(side): count_networks(side, traces=arguments.traces) for side in arguments.sizes}
    for side, networks in sizes.items():
        for name, work in networks.items():
            sys.stdout.write(
                f"  {side} px  {name:<17} {work.total.mac_flops / frames_of(name) / 1e9:9.2f} "
                "GFLOP\n"
            )
    described = {
        side: {name: describe_work(work, frames=frames_of(name)) for name, work in networks.items()}
        for side, networks in sizes.items()
    }
    note = (
        "GFLOP are 2 x multiply-accumulates; the denoiser's per frame and step, bytes per call, "
        "fp16"
    )
    write_results(arguments.output, {"note": note, "frames": FRAMES, "pixels": described})


def frames_of(name: str) -> int:
    """Frames that a call makes."""
    return FRAMES if name == "denoising_unet" else 1


def count_networks(side: int, *, traces: Path | None) -> dict[str, NetworkWork]:
    """Network to the work of one call, for square pictures."""
    sizes = size_networks(FULL, size=(side, side), frames=FRAMES, face="mask")
    specs = describe_networks(sizes, precision="fp16")
    return {
        name: count_work(find_trace(spec, FULL, folder=traces).model)
        for name, spec in specs.items()
    }


def describe_work(work: NetworkWork, *, frames: int) -> dict[str, Any]:
    """Totals, and the share of each kind of module in the multiply-accumulates."""
    total = work.total
    shares: dict[str, float] = {}
    for group, part in work.by_group.items():
        kind = split_group(group)[1]
        shares[kind] = shares.get(kind, 0.0) + part.mac_flops / total.mac_flops
    return {
        "gflop": round(total.mac_flops / frames / 1e9, 3),
        "weighted_gflop": round(total.weighted_flops / frames / 1e9, 3),
        "attention_gflop": round(count_attention(work) / frames / 1e9, 3),
        "other_gflop": round(total.other_flops / frames / 1e9, 3),
        "weights_gb": round(total.weight_bytes / 1e9, 4),
        "activations_gb": round(total.activation_bytes / 1e9, 3),
        "fused_gb": round(total.fused_bytes / 1e9, 3),
        "kernels": total.kernels,
        "shares": {
            kind: round(share, 4) for kind, share in sorted(shares.items()) if share >= 0.0005
        },
    }


def count_attention(work: NetworkWork) -> int:
    """Operations of the products without weights in spatial self-attention.

    They grow with the pixels squared.
    """
    parts = [
        part for group, part in work.by_group.items() if split_group(group)[1] == "self-attention"
    ]
    return sum(part.mac_flops - part.weighted_flops for part in parts)


if __name__ == "__main__":
    main()
