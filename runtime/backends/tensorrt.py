"""TensorRT 10.3 to 11.x on an NVIDIA GPU.

It runs bundles that were compiled on the machine that runs them.
"""

from __future__ import annotations

import platform
from pathlib import Path

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.cuda import find_cuda_trouble, open_cuda
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.engine.protocol import Backend, EngineOptions
from echoexport.runtime.engine.tensorrt_engine import TensorRTEngine
from echoexport.runtime.engine.tensorrt_library import TensorRTLibrary, import_library
from echoexport.runtime.errors import BackendError, SettingError


class TensorRTBackend(Backend):
    """The ``tensorrt`` package: on a Jetson it comes with JetPack, elsewhere from NVIDIA."""

    name = "tensorrt"
    on_gpu = True
    opens_graphs = False
    engine_suffix = ".plan"
    title = "TensorRT"
    oldest = (10, 3)
    library: type[TensorRTLibrary] = TensorRTLibrary
    modules: tuple[str, ...] = ("tensorrt",)
    install = (
        "TensorRT's Python module is not installed: on a Jetson 'sudo apt install "
        "python3-libnvinfer' and an "
        "environment made with --system-site-packages, elsewhere 'pip install tensorrt'"
    )

    def __init__(self) -> None:
        self._opened: TensorRTLibrary | None = None

    def unavailable(self) -> str | None:
        """The first that is missing of package, new enough version, cuda-python, driver, GPU."""
        try:
            library = self._open_library()
        except BackendError as error:
            return str(error)
        numbers = [int(part) for part in library.version.split(".")[:2] if part.isdigit()]
        if tuple(numbers) < self.oldest:
            wanted = ".".join(map(str, self.oldest))
            return f"{self.title} {library.version} is too old: {wanted} or newer is wanted"
        return find_cuda_trouble()

    def describe(self) -> str:
        """Versions and device.

        Raises:
            BackendError: it does not work here.
        """
        cuda = open_cuda()
        device = cuda.find_device()
        (version, _) = cuda.find_versions()
        library = self._open_library()
        gpu = f"{device.name} ({device.compute_capability})"
        return f"{self.title} {library.version}, {gpu}, CUDA {version}"

    def fingerprint(self, options: EngineOptions) -> dict[str, str]:
        """All that a plan depends on besides graph, weights and shapes.

        ``device`` is on a Jetson our target's name, which says the module whatever
        board carries it.

        Raises:
            BackendError: the library is missing or there is no GPU.
        """
        from echoexport.runtime.device import detect_device

        device = detect_device()
        gpu = open_cuda().find_device()
        jetson = device.kind == "jetson"
        values = {
            **self._identify(),
            "device": (device.target or device.model or gpu.name) if jetson else gpu.name,
            "compute_capability": gpu.compute_capability,
            "driver": None if jetson else device.driver,  # a Jetson's comes with its JetPack
            "jetpack": device.jetpack,
            "l4t": device.l4t,
            "power_mode": device.power_mode,
        }
        return {key: value for key, value in values.items() if value is not None}

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> TensorRTEngine:
        """Plans take minutes to build, so none is built in passing.

        Raises:
            BackendError: always.
        """
        raise BackendError(
            f"backend {self.name!r} runs compiled bundles only; compile first: echoexport "
            f"compile {graph.parent} "
            f"--backend {self.name}"
        )

    def open_engine(self, engine: Path, spec: SubnetSpec, options: EngineOptions) -> TensorRTEngine:
        """A plan on the GPU, whose hash and fingerprint were found right.

        Raises:
            BackendError: the library is missing, refuses the plan, or memory runs out.
            SettingError: a compute precision other than the graph's own.
        """
        return self._open_plan(engine, spec, options)

    def open_held_engine(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> TensorRTEngine:
        """The same of a file that was read into memory; raises the same."""
        return self._open_plan(files.path, spec, options, content=files.main.content())

    def _open_plan(
        self,
        plan: Path,
        spec: SubnetSpec,
        options: EngineOptions,
        *,
        content: memoryview | None = None,
    ) -> TensorRTEngine:
        if options.compute not in ("", "fp32"):
            raise SettingError(
                f"compute {options.compute!r}: backend {self.name!r} computes in what a "
                "bundle's networks are stored in"
            )
        library = self._open_library()
        return TensorRTEngine(library, open_cuda(), plan, spec, options, content=content)

    def _identify(self) -> dict[str, str | None]:
        return {
            "library": self.name,
            "version": self._open_library().version,
            "os": platform.system().lower(),
            "arch": platform.machine(),
        }

    def _open_library(self) -> TensorRTLibrary:
        """The library, one for all engines of a process, see ``TensorRTLibrary``.

        Raises ``BackendError``.
        """
        try:
            module = import_library(*self.modules)
        except ModuleNotFoundError as error:
            raise BackendError(self.install) from error
        if self._opened is None or self._opened.module is not module:
            try:
                self._opened = self.library(module, title=self.title)
            except (
                AttributeError
            ) as error:  # such as any folder of this name, which Python imports too
                raise BackendError(
                    f"what Python imports as {self.modules[-1]!r} is not {self.title}: {error}"
                ) from error
        return self._opened


BACKEND = TensorRTBackend()
