"""What a bundle says of itself: the manifest of a build."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from echoexport.export.build.settings import BuildSettings
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.demo.assets import is_builtin
from echoexport.runtime.backends import list_backends
from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_FRAME, ROWS_PER_SECOND
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, NetworkSizes
from echoexport.runtime.contract.manifest import (
    BUNDLE_FORMAT,
    MANIFEST_SCHEMA,
    Manifest,
    NetworkEntry,
    Provenance,
)
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.contract.settings import (
    AudioSettings,
    PictureSettings,
    SamplerSettings,
    WindowSettings,
)
from echoexport.runtime.inputs.voice import SAMPLE_RATE
from echoexport.targets.spec import TargetSpec

FPS = 24.0  # the original's default
# What the result depends on; places do not matter.
_RECORDED = (
    "variant",
    "size",
    "frames",
    "precision",
    "steps",
)
BUILTIN_NAME = "echoexport-demo-character"


def describe_bundle(
    opened: Checkpoint,
    sizes: NetworkSizes,
    networks: Mapping[str, NetworkEntry],
    *,
    target: TargetSpec,
    settings: BuildSettings,
    notes: Sequence[str] = (),
) -> Manifest:
    """The manifest as far as it is known: without its files and the checkpoint's hashes.

    ``notes`` come after its own.
    """
    variant = opened.variant
    return Manifest(
        format=BUNDLE_FORMAT,
        schema=MANIFEST_SCHEMA,
        family=FAMILY.name,
        variant=variant.name,
        target=target.name,
        backends=_runnable_backends(target),
        precision=settings.precision or "",
        fps=FPS,
        face=variant.face,
        picture=_describe_picture(opened, sizes),
        window=WindowSettings(
            sizes.frames, min(variant.overlap, sizes.frames - 1), variant.window_shift
        ),
        sampler=_describe_sampler(opened, settings),
        audio=_describe_audio(opened),
        networks=dict(networks),
        files={},
        provenance=_describe_origin(opened, settings, notes),
    )


def _describe_picture(opened: Checkpoint, sizes: NetworkSizes) -> PictureSettings:
    return PictureSettings(
        sizes.width,
        sizes.height,
        sizes.picture_channels,
        sizes.latent_channels,
        opened.architecture.vae.downscale,
        opened.variant.hold,
    )


def _describe_sampler(opened: Checkpoint, settings: BuildSettings) -> SamplerSettings:
    variant = opened.variant
    return SamplerSettings(
        variant.steps if settings.steps is None else settings.steps,
        float(variant.guidance),
        variant.noise_clamp,
        opened.settings.scheduler,
        variant.shared_noise,
        settings.live_steps,
    )


def _describe_audio(opened: Checkpoint) -> AudioSettings:
    audio = opened.architecture.audio
    return AudioSettings(
        SAMPLE_RATE,
        audio.mels,
        audio.context,
        audio.layers + 1,
        audio.width,
        ROWS_PER_SECOND,
        ROWS_PER_FRAME,
    )


def _describe_origin(
    opened: Checkpoint, settings: BuildSettings, notes: Sequence[str]
) -> Provenance:
    return Provenance(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        checkpoint=_checkpoint_name(opened),
        checkpoint_files={},
        tools=_tool_versions(),
        settings={k: dump(v) for k, v in asdict(settings).items() if k in _RECORDED},
        notes=(*_notes(opened), *notes),
    )


def _checkpoint_name(opened: Checkpoint) -> str:
    return BUILTIN_NAME if is_builtin(opened.folder) else opened.folder.resolve().name


def _runnable_backends(target: TargetSpec) -> tuple[str, ...]:
    """The target's own backend first where this release has it, then the portable ones."""
    wanted = (target.backends.default, *target.backends.portable)
    return tuple(dict.fromkeys(name for name in wanted if name in list_backends()))


def _notes(opened: Checkpoint) -> tuple[str, ...]:
    from echoexport.export.subnets.networks import build_network, wanted_shapes

    wanted = wanted_shapes(build_network("denoising_unet", opened.architecture))
    own = (
        ("the demo character that is built into echoexport: drawn faces only",)
        if is_builtin(opened.folder)
        else ()
    )
    return own + tuple(
        f"{path.name}: {len(keys)} keys that the network lacks were ignored, the first: {keys[0]}"
        for path, keys in opened.ignored_keys(wanted).items()
    )


def _tool_versions() -> dict[str, str]:
    names = ("echoexport", "torch", "onnx", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
