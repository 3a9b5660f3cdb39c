"""The runtime: opens a bundle and renders with it. This is the whole of its public face.

No torch, no onnx; heavy libraries load where they are used.

From their import on, ONNX Runtime's newer wheels send usage data to Microsoft and keep
a device number in the user's cache folder. Importing this package switches that off for
the process and its children (``ORT_DISABLE_TELEMETRY=1``), unless the variable is set
already.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echoexport.runtime.backends import list_backends, load_backend
    from echoexport.runtime.bundle.network import Network
    from echoexport.runtime.bundle.opened import Bundle, Lease, open_bundle
    from echoexport.runtime.bundle.self_test import SelfTestResult
    from echoexport.runtime.conditioning.reference_cache import CacheStats, ReferenceCache
    from echoexport.runtime.contract.compiled import CompiledEngine, CompiledEngines
    from echoexport.runtime.contract.family import Drive, Family
    from echoexport.runtime.contract.manifest import (
        FileEntry,
        Manifest,
        NetworkEntry,
        Provenance,
        QuantizationSummary,
        read_manifest,
    )
    from echoexport.runtime.contract.network_work import NetworkWork, Work
    from echoexport.runtime.contract.noise_schedule import SchedulerConfig
    from echoexport.runtime.contract.settings import (
        AudioSettings,
        PictureSettings,
        SamplerSettings,
        WindowSettings,
    )
    from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
    from echoexport.runtime.engine.layer_times import LayerRecord
    from echoexport.runtime.engine.network_files import NetworkFiles
    from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
    from echoexport.runtime.errors import (
        AudioError,
        BackendError,
        BundleError,
        CalibrationError,
        CapacityError,
        CheckpointError,
        DeviceError,
        EchoExportError,
        GraphError,
        InputError,
        LimitError,
        MissingPackageError,
        OutputError,
        PortraitError,
        PoseError,
        QualityError,
        SettingError,
        SignatureError,
        TargetError,
        TargetMismatchError,
        UnknownNameError,
    )
    from echoexport.runtime.files.cache_folders import find_cache_folder
    from echoexport.runtime.files.held_file import HeldFile
    from echoexport.runtime.inputs.face_choice import choose_face
    from echoexport.runtime.inputs.picture_file import StoredPicture
    from echoexport.runtime.inputs.portrait import FaceCrop, crop_face, read_portrait, whole_picture
    from echoexport.runtime.inputs.pose import PoseMaps, read_poses
    from echoexport.runtime.inputs.sound.sample_store import SampleStore
    from echoexport.runtime.inputs.sound.stored import StoredSound
    from echoexport.runtime.inputs.voice import Voice, read_voice, voice_from_samples
    from echoexport.runtime.live.frames import LiveFrame
    from echoexport.runtime.live.opening import Conversation, FaceChoice, open_live
    from echoexport.runtime.live.settings import LiveSettings
    from echoexport.runtime.live.statistics import LiveStatistics
    from echoexport.runtime.rendering.clip import ClipReport, ClipRequest, make_clip
    from echoexport.runtime.rendering.session import Rendering, Session
    from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings
    from echoexport.runtime.sampling.ddim import sinusoid
    from echoexport.runtime.sampling.sampler import SamplingHooks, SamplingStep
    from echoexport.runtime.sinks.open import open_sink
    from echoexport.runtime.sinks.sink import FrameSink
    from echoexport.runtime.trace.trace_file import write_trace
    from echoexport.runtime.trace.tracer import Span, Tracer

# Each name's module, which is imported when the name is first asked for: who wants one
# part of the runtime need not wait for all of it.
_PLACES = {
    "backends": (
        "list_backends",
        "load_backend",
    ),
    "bundle.network": ("Network",),
    "bundle.opened": (
        "Bundle",
        "Lease",
        "open_bundle",
    ),
    "bundle.self_test": ("SelfTestResult",),
    "conditioning.reference_cache": (
        "CacheStats",
        "ReferenceCache",
    ),
    "contract.compiled": (
        "CompiledEngine",
        "CompiledEngines",
    ),
    "contract.family": (
        "Drive",
        "Family",
    ),
    "contract.manifest": (
        "FileEntry",
        "Manifest",
        "NetworkEntry",
        "Provenance",
        "QuantizationSummary",
        "read_manifest",
    ),
    "contract.network_work": (
        "NetworkWork",
        "Work",
    ),
    "contract.noise_schedule": ("SchedulerConfig",),
    "contract.settings": (
        "AudioSettings",
        "PictureSettings",
        "SamplerSettings",
        "WindowSettings",
    ),
    "contract.spec": (
        "SubnetSpec",
        "TensorSpec",
    ),
    "engine.layer_times": ("LayerRecord",),
    "engine.network_files": ("NetworkFiles",),
    "engine.protocol": (
        "Backend",
        "Engine",
        "EngineOptions",
    ),
    "errors": (
        "AudioError",
        "BackendError",
        "BundleError",
        "CalibrationError",
        "CapacityError",
        "CheckpointError",
        "DeviceError",
        "EchoExportError",
        "GraphError",
        "InputError",
        "LimitError",
        "MissingPackageError",
        "OutputError",
        "PortraitError",
        "PoseError",
        "QualityError",
        "SettingError",
        "SignatureError",
        "TargetError",
        "TargetMismatchError",
        "UnknownNameError",
    ),
    "files.cache_folders": ("find_cache_folder",),
    "files.held_file": ("HeldFile",),
    "inputs.face_choice": ("choose_face",),
    "inputs.picture_file": ("StoredPicture",),
    "inputs.portrait": (
        "FaceCrop",
        "crop_face",
        "read_portrait",
        "whole_picture",
    ),
    "inputs.pose": (
        "PoseMaps",
        "read_poses",
    ),
    "inputs.sound.sample_store": ("SampleStore",),
    "inputs.sound.stored": ("StoredSound",),
    "inputs.voice": (
        "Voice",
        "read_voice",
        "voice_from_samples",
    ),
    "live.frames": ("LiveFrame",),
    "live.opening": (
        "Conversation",
        "FaceChoice",
        "open_live",
    ),
    "live.settings": ("LiveSettings",),
    "live.statistics": ("LiveStatistics",),
    "rendering.clip": (
        "ClipReport",
        "ClipRequest",
        "make_clip",
    ),
    "rendering.session": (
        "Rendering",
        "Session",
    ),
    "rendering.settings": (
        "RenderInputs",
        "RenderSettings",
    ),
    "sampling.ddim": ("sinusoid",),
    "sampling.sampler": (
        "SamplingHooks",
        "SamplingStep",
    ),
    "sinks.open": ("open_sink",),
    "sinks.sink": ("FrameSink",),
    "trace.trace_file": ("write_trace",),
    "trace.tracer": (
        "Span",
        "Tracer",
    ),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "AudioError",
    "AudioSettings",
    "Backend",
    "BackendError",
    "Bundle",
    "BundleError",
    "CacheStats",
    "CalibrationError",
    "CapacityError",
    "CheckpointError",
    "ClipReport",
    "ClipRequest",
    "CompiledEngine",
    "CompiledEngines",
    "Conversation",
    "DeviceError",
    "Drive",
    "EchoExportError",
    "Engine",
    "EngineOptions",
    "FaceChoice",
    "FaceCrop",
    "Family",
    "FileEntry",
    "FrameSink",
    "GraphError",
    "HeldFile",
    "InputError",
    "LayerRecord",
    "Lease",
    "LimitError",
    "LiveFrame",
    "LiveSettings",
    "LiveStatistics",
    "Manifest",
    "MissingPackageError",
    "Network",
    "NetworkEntry",
    "NetworkFiles",
    "NetworkWork",
    "OutputError",
    "PictureSettings",
    "PortraitError",
    "PoseError",
    "PoseMaps",
    "Provenance",
    "QualityError",
    "QuantizationSummary",
    "ReferenceCache",
    "RenderInputs",
    "RenderSettings",
    "Rendering",
    "SampleStore",
    "SamplerSettings",
    "SamplingHooks",
    "SamplingStep",
    "SchedulerConfig",
    "SelfTestResult",
    "Session",
    "SettingError",
    "SignatureError",
    "Span",
    "StoredPicture",
    "StoredSound",
    "SubnetSpec",
    "TargetError",
    "TargetMismatchError",
    "TensorSpec",
    "Tracer",
    "UnknownNameError",
    "Voice",
    "WindowSettings",
    "Work",
    "choose_face",
    "crop_face",
    "find_cache_folder",
    "list_backends",
    "load_backend",
    "make_clip",
    "open_bundle",
    "open_live",
    "open_sink",
    "read_manifest",
    "read_portrait",
    "read_poses",
    "read_voice",
    "sinusoid",
    "voice_from_samples",
    "whole_picture",
    "write_trace",
]

# Here, as the library reads it while it is imported, and every room that imports it has
# imported this package before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
