"""TensorRT-RTX on an NVIDIA GPU.

Any x86 machine compiles its plans, and any RTX GPU finishes them when they are opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from echoexport.runtime.backends.tensorrt import TensorRTBackend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.cuda import open_cuda
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.engine.tensorrt_library import Context, TensorRTLibrary
from echoexport.runtime.files.sealed_file import read_sealed, write_sealed


class TensorRTRTXLibrary(TensorRTLibrary):
    """The bindings, which compile kernels for the GPU at hand.

    They do so while a plan is opened and first run.
    """

    def create_context(self, engine: Any, spec: SubnetSpec, options: EngineOptions) -> Context:
        """A context that records a CUDA graph by itself.

        It finds its kernels in the cache folder, if there is one.
        """
        config = engine.create_runtime_config()
        if not options.profile:  # within a graph no layer is timed by itself
            config.cuda_graph_strategy = self.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        keep = None
        if options.cache is not None:
            kernels = config.create_runtime_cache()
            file = options.cache / f"{spec.name}.kernels"
            # None yet, or damaged; one of another GPU, driver or version is refused and ignored.
            with contextlib.suppress(OSError):
                content = read_sealed(file, key=spec.name)
                if content is not None:
                    kernels.deserialize(bytes(content))
            config.set_runtime_cache(kernels)
            keep = _keep_in(file, kernels, key=spec.name)
        return Context(engine.create_execution_context(config), replays=True, keep=keep)


class TensorRTRTXBackend(TensorRTBackend):
    """The packages ``tensorrt-rtx-cu13-libs`` and ``tensorrt-rtx-cu13-bindings``."""

    name = "tensorrt_rtx"
    title = "TensorRT-RTX"
    oldest = (1, 2)  # the first that records CUDA graphs by itself
    library = TensorRTRTXLibrary
    # The first loads the shared libraries of the second.
    modules = (
        "tensorrt_rtx_libs",
        "tensorrt_rtx_bindings",
    )
    install = "TensorRT-RTX is not installed: pip install 'echoexport[tensorrt-rtx]'"

    def unavailable(self) -> str | None:
        """As TensorRT's, and a GPU that it has no kernels for.

        Hopper's and other data-centre ones beside A100.

        From what it says when it refuses a plan on an H100: 8.0, 8.6, 8.9, 12.0 and
        later.
        """
        reason = super().unavailable()
        if reason is not None:
            return reason
        capability = open_cuda().find_device().compute_capability
        if not _runs_on(capability):
            return (
                f"{self.title} runs on compute capability 8.x, 12.0 and later, and this GPU "
                f"has {capability}: "
                "use backend 'tensorrt' or 'ort_cuda'"
            )
        return None

    def fingerprint(self, options: EngineOptions) -> dict[str, str]:
        """Its plans belong to one version of the library, and to no GPU.

        Raises:
            BackendError: the library is missing.
        """
        return {key: value for key, value in self._identify().items() if value is not None}


def _runs_on(capability: str) -> bool:
    major = int(capability.split(".", maxsplit=1)[0])
    return major == 8 or major >= 12


def _keep_in(file: Path, kernels: Any, *, key: str) -> Callable[[], None]:
    """Writes the kernels down; without room or leave to do so they are compiled again next time."""

    def keep() -> None:
        with contextlib.suppress(OSError):
            write_sealed(file, bytes(kernels.serialize()), key=key)

    return keep


BACKEND = TensorRTRTXBackend()
