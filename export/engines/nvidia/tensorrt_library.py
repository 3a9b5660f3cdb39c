"""NVIDIA's Python modules, the builder's half.

All that differs between TensorRT 10.3, 10.16, 11.x and TensorRT-RTX.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from echoexport.runtime.backends import load_backend
from echoexport.runtime.backends.tensorrt import TensorRTBackend
from echoexport.runtime.engine.tensorrt_library import import_library
from echoexport.runtime.errors import BackendError, GraphError
from echoexport.runtime.progress import Tell

NEWEST_MAJOR = 11

_NEEDED = ("Builder", "OnnxParser", "ILogger", "MemoryPoolType")
_OUT_OF_MEMORY = re.compile(
    r"out of memory|outofmemory|bad_alloc|insufficient memory", re.IGNORECASE
)
_SKIPPED = re.compile(r"skipping tactic .*insufficient memory", re.IGNORECASE)


@dataclass(frozen=True)
class Product:
    """One of NVIDIA's two libraries."""

    backend: str
    ahead_of_time: bool
    """Engines are portable and nothing is timed while they are built."""
    library: str = ""
    """A Python file to load in place of the module, "" for the module itself."""

    @property
    def home(self) -> TensorRTBackend:
        """The backend that runs its engines."""
        return cast(TensorRTBackend, load_backend(self.backend))

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.home.title


TENSORRT = Product("tensorrt", ahead_of_time=False)
TENSORRT_RTX = Product("tensorrt_rtx", ahead_of_time=True)
PRODUCTS = {product.backend: product for product in (TENSORRT, TENSORRT_RTX)}


@dataclass
class Complaints:
    """What the library said while it worked.

    Errors, and how many kernels it left out for lack of memory.
    """

    errors: list[str] = field(default_factory=list)
    skipped_tactics: int = 0

    def describe(self, otherwise: str) -> str:
        """The first three errors, or ``otherwise``."""
        return "; ".join(self.errors[:3]) or otherwise

    @property
    def out_of_memory(self) -> bool:
        """Whether one of the errors is about memory."""
        return any(_OUT_OF_MEMORY.search(error) for error in self.errors)


@dataclass
class ParsedNetwork:
    """A graph in the library's own form.

    The parser is kept because it owns the weights until the engine is built.
    """

    builder: Any
    network: Any
    parser: Any
    complaints: Complaints
    seconds: float

    @property
    def layers(self) -> int:
        """How many layers the parser made of the graph."""
        return int(self.network.num_layers)


@dataclass(frozen=True)
class BuildOptions:
    """As in ``EngineSettings``."""

    workspace: int | None = None
    level: int | None = None
    timing: bytes | None = None
    """A serialized timing cache."""
    fresh: bool = False
    """Kernels are timed anew, and the cache is only what the new timings are added to."""
    tell_phase: Tell | None = None
    """Is given the names of the builder's phases."""


@dataclass(frozen=True)
class Plan:
    """content: the serialized engine, anything with a buffer.

    Timing: the cache after it, None where none is kept.
    """

    content: Any
    timing: bytes | None
    notes: tuple[str, ...]
    seconds: float


class BuilderLibrary:
    """An imported module of NVIDIA's.

    It is asked only for what every release since 10.3 has, or what can be done without.

    Raises:
        BackendError: the release is too old, or something that cannot be done without
            is missing in it.
    """

    def __init__(self, module: Any, product: Product) -> None:
        self._trt = module
        self.product = product
        self.version = str(getattr(module, "__version__", "of unknown version"))
        number = tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])
        if number and number < product.home.oldest:
            wanted = ".".join(map(str, product.home.oldest))
            jetpack = "" if product.ahead_of_time else ", which JetPack 6.1 brings"
            raise BackendError(f"{self.title} is too old: {wanted} or newer is needed{jetpack}")
        missing = [name for name in _NEEDED if not hasattr(module, name)]
        if missing:
            raise self.lack(missing[0])
        self.notes: tuple[str, ...] = ()
        if not product.ahead_of_time and number and number[0] > NEWEST_MAJOR:
            self.notes = (
                f"{self.title} is newer than what this release was made for ({NEWEST_MAJOR}.x)",
            )

    @property
    def title(self) -> str:
        """Name and full version."""
        return f"{self.product.title} {self.version}"

    def lack(self, name: str) -> BackendError:
        """The error for something that this module should have."""
        return BackendError(
            f"{self.title} has no {name}: its Python package is incomplete or of another "
            "release than its libraries; "
            "install both anew, from one source"
        )

    def parse(self, graph: Path) -> ParsedNetwork:
        """Read an ONNX file and the weights beside it into a strongly typed network.

        Raises:
            BackendError: the library does not start here.
            GraphError: the parser refuses the graph; names the nodes.
            MemoryError: it ran out of memory.
        """
        complaints = Complaints()
        logger = self._make_logger(complaints)
        start = time.perf_counter()
        try:
            builder = self._trt.Builder(logger)
        except (
            TypeError,
            RuntimeError,
        ) as error:  # pybind11's way of saying that the library gave nothing
            reason = complaints.describe(" ".join(str(error).split()))
            raise BackendError(
                f"{self.title} does not start here, it needs a GPU and a driver: {reason}"
            ) from error
        network = builder.create_network(self._network_flags())
        parser = self._make_parser(network, logger)
        if not parser.parse_from_file(str(graph)):
            if complaints.out_of_memory:
                raise MemoryError(complaints.describe(""))
            errors = [
                _describe_error(parser.get_error(i)) for i in range(min(3, parser.num_errors))
            ]
            raise GraphError("; ".join(errors) or complaints.describe("the parser gives no reason"))
        _require_fixed_shapes(network)
        return ParsedNetwork(builder, network, parser, complaints, time.perf_counter() - start)

    def build(self, parsed: ParsedNetwork, options: BuildOptions) -> Plan:
        """Compile a parsed network.

        Raises:
            GraphError: the builder refuses the network.
            MemoryError: it ran out of memory.
        """
        start = time.perf_counter()
        config = parsed.builder.create_builder_config()
        self._configure(config, options)
        notes, timing = self._attach_timing(config, options)
        content = parsed.builder.build_serialized_network(parsed.network, config)
        complaints = parsed.complaints
        if content is None:
            if complaints.out_of_memory:
                raise MemoryError(complaints.describe(""))
            raise GraphError(complaints.describe("the builder gave no engine and no reason"))
        if complaints.skipped_tactics:
            notes.append(
                f"{complaints.skipped_tactics} kernels were left out for lack of memory while "
                "building, so the engine may be slower than it could be"
            )
        seconds = time.perf_counter() - start
        return Plan(content, timing and timing(), (*self.notes, *notes), seconds)

    def _make_parser(self, network: Any, logger: Any) -> Any:
        parser = self._trt.OnnxParser(network, logger)
        # On by default in newer releases. Off, InstanceNormalization becomes a plugin,
        # whose epsilon is 1e-4 at least.
        native = getattr(getattr(self._trt, "OnnxParserFlag", None), "NATIVE_INSTANCENORM", None)
        if native is not None and not parser.get_flag(native):
            parser.set_flag(native)
        return parser

    def _network_flags(self) -> int:
        # 10.x types weakly unless told; 11.x always types strongly and takes the flag
        # as long as it has it.
        flag = getattr(
            getattr(self._trt, "NetworkDefinitionCreationFlag", None), "STRONGLY_TYPED", None
        )
        return 0 if flag is None else 1 << int(flag)

    def _configure(self, config: Any, options: BuildOptions) -> None:
        if options.workspace is not None:
            config.set_memory_pool_limit(self._trt.MemoryPoolType.WORKSPACE, options.workspace)
        if options.level is not None and hasattr(config, "builder_optimization_level"):
            config.builder_optimization_level = options.level
        # On by default, it rounds what the graph has in fp32 to 10 bits: no fp32
        # network would pass its self-test.
        tf32 = getattr(getattr(self._trt, "BuilderFlag", None), "TF32", None)
        if tf32 is not None:
            config.clear_flag(tf32)
        if (
            options.tell_phase
            and hasattr(self._trt, "IProgressMonitor")
            and hasattr(config, "progress_monitor")
        ):
            config.progress_monitor = self._make_monitor(options.tell_phase)

    def _attach_timing(
        self, config: Any, options: BuildOptions
    ) -> tuple[list[str], Callable[[], bytes] | None]:
        """Remarks, and a function that gives the cache after the build.

        None where the library keeps no timings.

        TensorRT-RTX still has the calls, but they do nothing, and they look for a GPU.
        """
        if (
            self.product.ahead_of_time
            or options.timing is None
            or not hasattr(config, "create_timing_cache")
        ):
            return [], None
        notes: list[str] = []
        old = self._open_timing(config, options.timing) if options.timing else None
        if options.timing and (old is None or not config.set_timing_cache(old, False)):
            notes.append(
                "the timing cache is damaged or of another device or TensorRT: started anew"
            )
            old = None
        used = old
        if options.fresh or used is None:
            used = config.create_timing_cache(b"")
            config.set_timing_cache(used, False)

        def serialize() -> bytes:
            if old is not None and used is not old:
                used.combine(old, False)
            return bytes(memoryview(used.serialize()))

        return notes, serialize

    def _open_timing(self, config: Any, content: bytes) -> Any:
        try:
            return config.create_timing_cache(content)
        except (RuntimeError, TypeError, ValueError):
            return None

    def _make_logger(self, complaints: Complaints) -> Any:
        ahead_of_time = self.product.ahead_of_time

        class Listener(self._trt.ILogger):  # type: ignore[misc, name-defined]
            """Keeps what the library complains about.

            The builder itself only answers with nothing.
            """

            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, message: str) -> None:
                # Thousands of lines are of lesser kinds: they are left before anything
                # is done with them.
                if severity == self.Severity.WARNING:
                    complaints.skipped_tactics += bool(_SKIPPED.search(message))
                elif severity in (self.Severity.ERROR, self.Severity.INTERNAL_ERROR):
                    line = " ".join(message.split())
                    # Ahead of time it misses a GPU on every build, good or bad.
                    if (
                        not ahead_of_time
                        or "Cuda Runtime" not in line
                        or _OUT_OF_MEMORY.search(line)
                    ):
                        complaints.errors.append(line)

        return Listener()

    def _make_monitor(self, tell: Tell) -> Any:
        class Monitor(self._trt.IProgressMonitor):  # type: ignore[misc, name-defined]
            """Called from the builder's threads."""

            def __init__(self) -> None:
                super().__init__()

            def phase_start(
                self, phase_name: str, parent_phase: str | None, num_steps: int
            ) -> None:
                tell(phase_name)

            def step_complete(self, phase_name: str, step: int) -> bool:
                return True

            def phase_finish(self, phase_name: str) -> None:
                return None

        return Monitor()


def load_builder_library(product: Product) -> BuilderLibrary:
    """Import a product's module.

    Raises:
        BackendError: it is not installed, does not load, is too old, or incomplete.
    """
    try:
        module = (
            _load_file(product.library)
            if product.library
            else import_library(*product.home.modules)
        )
    except ModuleNotFoundError as error:
        raise BackendError(product.home.install) from error
    except (ImportError, OSError) as error:
        raise BackendError(f"{product.library} does not load: {error}") from error
    return BuilderLibrary(module, product)


def _load_file(path: str) -> Any:
    found = importlib.util.spec_from_file_location(Path(path).stem, path)
    if found is None or found.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _require_fixed_shapes(network: Any) -> None:
    """Raise ``GraphError`` for an input whose shape the graph leaves open.

    Engines are built at one shape only.
    """
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        if any(size < 0 for size in tensor.shape):
            raise GraphError(f"input {tensor.name} has no fixed shape: {tuple(tensor.shape)}")


def _describe_error(error: Any) -> str:
    """One of the parser's errors in a line.

    Operator and name of the node where there is one, and what is wrong.
    """
    return " ".join(f"{error.node_operator()} {error.node_name()}: {error.desc()}".split()).lstrip(
        ": "
    )
