"""What this device reaches in a test of a second or two.

It multiplies matrices through a backend, and copies memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.resources import as_file, files

import numpy as np

from echoexport.profiles.measuring.circumstances import describe_machine
from echoexport.profiles.modelling.demand import DENOISER
from echoexport.profiles.modelling.roofline import Roof
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.engine.protocol import Backend, EngineOptions
from echoexport.runtime.errors import EchoExportError

__all__ = ["PROBES", "Probe", "ProbeFigure", "ProbeGraph", "probe_bundle", "probe_device"]


@dataclass(frozen=True)
class ProbeGraph:
    """A graph that ships in ``data``: products of square matrices, one after another."""

    precision: str
    side: int
    """Rows and columns of a matrix."""
    products: int
    """How many products follow each other."""

    @property
    def file(self) -> str:
        """Its name there."""
        return f"probe-{self.precision}-{self.side}.onnx"

    @property
    def flops(self) -> int:
        """Operations of one call, two for each multiply-accumulate."""
        return 2 * self.side**3 * self.products

    def describe(self) -> SubnetSpec:
        """Its contract as the backends want it."""
        dtype = "float16" if self.precision == "fp16" else "float32"
        axes = (("rows", self.side), ("columns", self.side))
        x = TensorSpec("x", dtype, axes)
        y = TensorSpec("y", dtype, axes)
        return SubnetSpec("probe", (x,), (y,), TOLERANCES, self.precision)


# A GPU needs trillions of operations a call to be busy, at which a CPU would sit for a
# minute.
PROBES = (
    ProbeGraph("fp32", 1024, 8),
    ProbeGraph("int8", 1024, 8),
    ProbeGraph("fp16", 4096, 16),
    ProbeGraph("int8", 4096, 16),
)

_COPIED = 128 * 2**20  # bytes; beyond what processors keep in their caches
_LEAST_CALLS = 3
_MOST_CALLS = 15


@dataclass(frozen=True)
class ProbeFigure:
    """One test, *measured*."""

    value: float | None
    """FLOP/s or bytes/s of the median call; None where it could not run."""
    what: str
    seconds: float | None = None
    """The median call."""
    calls: int = 0
    """How many were timed, after one that was not."""
    spread: float | None = None
    """The slowest call by the quickest, 1 on a machine that has nothing else to do."""
    reason: str = ""
    """Why there is no value."""


@dataclass(frozen=True)
class Probe:
    """This device as the tests found it."""

    compute: ProbeFigure
    """Matrix products in the float type that is used."""
    int8: ProbeFigure
    """Matrix products in int8."""
    copy: ProbeFigure
    """Copies in the host's memory."""

    @property
    def roof(self) -> Roof:
        """The figures as a roof."""
        figures = (self.compute, self.copy, self.int8)
        values = [figure.value for figure in figures]
        return Roof(
            values[0],
            values[1],
            values[2],
            source="; ".join(figure.what for figure in figures if figure.value is not None),
            reason="; ".join(dict.fromkeys(figure.reason for figure in figures if figure.reason)),
        )


def probe_bundle(bundle: Bundle, *, seconds: float = 1.0) -> Probe:
    """Probe the device under a bundle, in the float type that its denoiser computes in there.

    See :func:`probe_device`.
    """
    computed = bundle.arithmetic()[DENOISER].split("+")
    options = replace(bundle.options, compute="bf16" if "bf16" in computed else "fp32")
    return probe_device(bundle.backend, options, seconds=seconds)


def probe_device(
    backend: Backend,
    options: EngineOptions,
    *,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Probe:
    """Time matrix products through a backend, and copies in the host's memory.

    The backend is opened as a bundle's engines are. Each of three tests stops at about
    ``seconds``, but not before three calls. Copies are of the memory that a CPU's
    networks live in; a GPU's own is not tested.
    """
    large = backend.on_gpu
    floats, small = PROBES[2:] if large else PROBES[:2]
    return Probe(
        compute=_probe_products(backend, floats, options, seconds=seconds, clock=clock),
        int8=_probe_products(
            backend, small, replace(options, compute="fp32"), seconds=seconds, clock=clock
        ),
        copy=ProbeFigure(None, "copies", reason="the memory of a GPU is not tested")
        if large
        else _probe_copies(
            options.threads or describe_machine().cores, seconds=seconds, clock=clock
        ),
    )


def _probe_products(
    backend: Backend,
    graph: ProbeGraph,
    options: EngineOptions,
    *,
    seconds: float,
    clock: Callable[[], float],
) -> ProbeFigure:
    what = f"{graph.precision} products of {graph.side} x {graph.side} in {backend.name}"
    if backend.name == "null":
        return ProbeFigure(None, what, reason="the null backend computes nothing")
    spec = graph.describe()
    inputs = {"x": np.full(spec.inputs[0].shape, 0.5, spec.inputs[0].dtype)}
    try:
        with as_file(files("echoexport.profiles") / "data" / graph.file) as path:
            engine = backend.open(path, spec, replace(options, cache=None, lanes=1))
        with closing(engine):
            what = f"{engine.precision} products of {graph.side} x {graph.side} in {backend.name}"
            times = _time(lambda: engine(inputs), seconds=seconds, clock=clock)
    except EchoExportError as error:
        return ProbeFigure(None, what, reason=f"the test of products failed: {error}")
    return _summarize(graph.flops, what, times)


def _probe_copies(threads: int, *, seconds: float, clock: Callable[[], float]) -> ProbeFigure:
    """Each thread copies its part; every byte is read once and written once."""
    source = np.ones(_COPIED, np.uint8)
    target = np.zeros(_COPIED, np.uint8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        times = _time(
            lambda: list(pool.map(lambda part: np.copyto(*part), parts)),
            seconds=seconds,
            clock=clock,
        )
    return _summarize(2 * _COPIED, f"copies of {_COPIED >> 20} MiB by {threads} threads", times)


def _time(call: Callable[[], object], *, seconds: float, clock: Callable[[], float]) -> list[float]:
    call()
    times: list[float] = []
    while len(times) < _LEAST_CALLS or (len(times) < _MOST_CALLS and sum(times) < seconds):
        start = clock()
        call()
        times.append(max(clock() - start, 1e-9))
    return times


def _summarize(work: float, what: str, times: list[float]) -> ProbeFigure:
    median = statistics.median(times)
    return ProbeFigure(work / median, what, median, len(times), round(max(times) / min(times), 3))
