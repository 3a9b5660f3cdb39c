"""ONNX Runtime's GPU providers.

Whether they work here, their options, and sessions that really run on them.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.processor import count_cores
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, MissingPackageError, SettingError

CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
CPU = "CPUExecutionProvider"

EXTRA = "onnxruntime-gpu"
_INSTALL = f"pip install 'echoexport[{EXTRA}]'"
_LIBRARIES = "pip install 'onnxruntime-gpu[cuda,cudnn]', or install NVIDIA's CUDA and cuDNN"
LARGEST_MODEL = 2**31 - 2**26
"""Bytes of weights that fit a message of 2 GB beside their graph."""

_ERRORS = 3  # ONNX Runtime's severity of errors; warnings have 2
_SHOWN = 4  # operators named in a note

# What the CUDA or TensorRT of a provider says, and what would work.
_FIXES = (
    (
        ("no kernel image", "named symbol not found"),
        "this onnxruntime-gpu holds no code for this GPU; on a Jetson use "
        "backend 'tensorrt', elsewhere a newer onnxruntime-gpu",
    ),
    (("driver version is insufficient",), "update the NVIDIA driver"),
    (
        ("maximum protobuf size", "protobuf serialization failed"),
        "this onnxruntime gives TensorRT no network of more "
        "than 2 GB: use backend 'tensorrt' or 'ort_cuda', or a newer onnxruntime-gpu",
    ),
    (
        ("CUDNN_STATUS", "CUBLAS_STATUS_NOT_INITIALIZED"),
        "close other programs, or install the cuDNN that it wants",
    ),
)
_OUT_OF_MEMORY = (
    "out of memory",
    "failed to allocate memory",
    "bfc_arena",
    "cudaerrormemoryallocation",
)
_MORE_MEMORY = (
    "close other programs, raise the memory limit, or take a bundle with a smaller picture or "
    "window"
)


@dataclass(frozen=True)
class Placement:
    """Where a session's nodes run."""

    nodes: Mapping[str, int]
    """How many each provider got."""
    elsewhere: Mapping[tuple[str, str], int]
    """How many of each (provider, operator) are not on the first provider."""

    def describe(self) -> str | None:
        """One line on the nodes that are not where they should be; None where all are."""
        if not self.elsewhere:
            return None
        most = sorted(self.elsewhere.items(), key=lambda entry: (-entry[1], entry[0]))
        named = [
            f"{count} {operator} on {provider}" for (provider, operator), count in most[:_SHOWN]
        ]
        rest = ["others"] if len(most) > _SHOWN else []
        total = sum(self.nodes.values())
        away = sum(self.elsewhere.values())
        return f"{away} of {total} nodes run elsewhere: {', '.join(named + rest)}"


def load_gpu_library(backend: str) -> Any:
    """The ``onnxruntime`` package.

    CUDA libraries that are installed in the environment are loaded with it.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            "onnxruntime-gpu", extra=EXTRA, purpose=f"backend {backend!r}"
        ) from error
    # Its own log warns at each session that no plug-in of the provider is found, which
    # is built in.
    onnxruntime.set_default_logger_severity(_ERRORS)
    if (
        hasattr(onnxruntime, "preload_dlls")
        and CUDA_PROVIDER in onnxruntime.get_available_providers()
    ):
        # it prints what it does not find, which we say ourselves
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    return onnxruntime


def find_trouble(backend: str, provider: str) -> str | None:
    """Why a provider does not work here, in one line with the fix.

    None where nothing speaks against it.
    """
    from echoexport.runtime.device import detect_device

    try:
        library = load_gpu_library(backend)
    except MissingPackageError:
        return f"onnxruntime-gpu is not installed: {_INSTALL}"
    if provider not in library.get_available_providers():
        build = f"this onnxruntime {library.__version__} is built without {provider}"
        if detect_device().kind == "jetson":
            return (
                f"{build}, and the registry's onnxruntime-gpu holds no code for Orin: use "
                "backend 'tensorrt'"
            )
        return f"{build}: pip uninstall onnxruntime, then {_INSTALL} (it takes onnxruntime's place)"
    return _find_gpu_trouble() or _find_missing_library(library, provider)


def _find_gpu_trouble() -> str | None:
    """By the driver's own library, which needs no other package."""
    try:
        driver = _load_shared("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed (libcuda.so.1 is missing)"
    count = ctypes.c_int(0)
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if failed or not count.value:
        return "this process sees no NVIDIA GPU (is CUDA_VISIBLE_DEVICES empty?)"
    return None


def _find_missing_library(library: Any, provider: str) -> str | None:
    major = str(getattr(library, "cuda_version", "") or "").split(".")[0]
    wanted = [(f"libcudart.so.{major}", _LIBRARIES)] if major else []
    wanted.append(("libcudnn.so.9", _LIBRARIES))
    if provider == TENSORRT_PROVIDER:  # which onnxruntime-gpu links, up to 1.31 at least
        wanted.append(
            ("libnvinfer.so.10", "pip install 'tensorrt==10.*', or use backend 'ort_cuda'")
        )
    for name, fix in wanted:
        try:
            _load_shared(name)
        except OSError:
            return f"{name} cannot be loaded, which {provider} needs: {fix}"
    return None


def _load_shared(name: str) -> Any:
    return ctypes.CDLL(name)


def cuda_options(spec: SubnetSpec, options: EngineOptions, *, graph: bool) -> dict[str, str]:
    """Options of the CUDA provider.

    fp32 stays fp32: without TF32, which would round products to 10 bits. fp16 has the
    option on: without it cuDNN's convolutions leave the tensor cores in fp16 too, which
    takes ten times as long (measured on an H100, onnxruntime
    1.31). Of the ways to choose a convolution cuDNN's heuristics gave the quicker
    denoiser there: 49.1 ms a call, with the provider's search 51.7.
    """
    chosen = {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": _flag(graph),
        "use_tf32": _flag(_is_half(spec)),
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    if options.device_memory:
        chosen["gpu_mem_limit"] = str(options.device_memory)
    return chosen


def tensorrt_options(
    spec: SubnetSpec, options: EngineOptions, *, graph: bool, beside: bool = False
) -> dict[str, str]:
    """Options of the TensorRT provider.

    The provider builds weakly typed networks: its flags have to allow the types that
    the graph is written in. ``options.cache`` keeps engines and timings; the caller
    gives each network, version and device a folder of its own. ``beside``: weights are
    handed over beside the graph, and not as part of one message.
    """
    chosen = {
        "device_id": "0",
        "trt_cuda_graph_enable": _flag(graph),
        "trt_fp16_enable": _flag(_is_half(spec)),
        "trt_int8_enable": _flag(spec.stored == "int8"),
    }
    if options.device_memory:
        chosen["trt_max_workspace_size"] = str(options.device_memory)
    if beside:
        chosen["trt_load_user_initializer"] = "1"
    if options.cache is not None:
        folder = str(options.cache)
        chosen |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_engine_cache_prefix": spec.name,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        }
    return chosen


def is_handed_beside(library: Any, graph: Path) -> bool:
    """Whether a network's weights go beside its graph.

    They do where they are too many for one message and this onnxruntime (1.23 or
    newer) can do without it.
    """
    weights = graph.with_suffix(".bin")
    numbers = [int(part) for part in str(library.__version__).split(".")[:2] if part.isdigit()]
    return numbers >= [1, 23] and weights.is_file() and weights.stat().st_size > LARGEST_MODEL


def make_gpu_settings(library: Any, options: EngineOptions, *, backend: str) -> Any:
    """Session options of a GPU session.

    Raises:
        SettingError: a compute precision that the backend does not have.
    """
    if options.compute not in ("", "fp32"):
        raise SettingError(
            f"compute {options.compute!r}: backend {backend!r} computes in what a network is "
            "stored in"
        )
    settings = library.SessionOptions()
    settings.log_severity_level = _ERRORS  # they are raised as well
    settings.intra_op_num_threads = count_cores()  # else it binds threads to cores
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return settings


def start_gpu_inference(
    library: Any, graph: Path, settings: Any, *, providers: list[tuple[str, dict[str, str]]]
) -> Any:
    """A session whose first provider is the one asked for; it never changes to another by itself.

    Raises:
        BackendError: it does not load, memory runs out, or it ended up elsewhere.
    """
    wanted = providers[0][0]
    try:
        session = library.InferenceSession(
            str(graph), settings, providers=providers, enable_fallback=0
        )
    except Exception as error:  # the library raises classes of its own, made in C++
        raise BackendError(f"{graph}: {wanted} cannot load it: {explain_refusal(error)}") from error
    session.disable_fallback()
    found = list(session.get_providers())
    if found[:1] != [wanted]:  # it falls back silently where a provider's own libraries do not load
        raise BackendError(
            f"{graph}: asked for {wanted}, got {', '.join(found) or 'none'}: {_LIBRARIES}"
        )
    return session


def find_placement(session: Any, wanted: str) -> Placement | None:
    """Which provider got which nodes, as the session recorded it.

    None where this onnxruntime records nothing.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    found = [
        (str(part.ep_name), str(node.op_type))
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    return _count_nodes(found, wanted)


def read_placement(profile: Path, wanted: str) -> Placement:
    """The same from a session's profile, for an onnxruntime (before 1.24) that records nothing.

    Raises:
        BackendError: it is no profile.
    """
    try:
        events = json.loads(profile.read_text(encoding="utf-8"))
        nodes = {
            event["name"]: (str(event["args"]["provider"]), str(event["args"]["op_name"]))
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{profile}: not a profile of ONNX Runtime's: {error}") from error
    if not nodes:
        raise BackendError(f"{profile}: not a profile of ONNX Runtime's: no node in it")
    return _count_nodes(list(nodes.values()), wanted)


def _count_nodes(found: list[tuple[str, str]], wanted: str) -> Placement:
    elsewhere = Counter((provider, operator) for provider, operator in found if provider != wanted)
    return Placement(Counter(provider for provider, _ in found), elsewhere)


def explain_refusal(error: BaseException) -> str:
    """What the library says, in one line, with the fix where one is known."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    lower = str(error).lower()
    if any(sign in lower for sign in _OUT_OF_MEMORY):
        return f"out of GPU memory ({text}); {_MORE_MEMORY}"
    fixes = [fix for signs, fix in _FIXES if any(sign.lower() in lower for sign in signs)]
    return f"{text}; {fixes[0]}" if fixes else text


def _is_half(spec: SubnetSpec) -> bool:
    return any(tensor.dtype == "float16" for tensor in spec.inputs)


def _flag(value: bool) -> str:
    return "1" if value else "0"
