"""NVIDIA's own parser and builder, through TensorRT-RTX: they need no GPU, so any machine can ask them.

A proxy for the TensorRT of a Jetson, not proof: it takes newer opsets than JetPack 6 does, hence our own lint.
Each network is parsed and built in a child process, because the library aborts on some errors and keeps its memory.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from echoexport.runtime.errors import GraphError, MissingPackageError

# Peak memory of a build over the weights' bytes: 9.3 GB for the full fp16 denoiser's 2.6 GB (measured).
MEMORY_FACTOR = 3.7


@dataclass(frozen=True)
class ParserReport:
    """What parsing and building one network gave; seconds are wall clock on this machine, *measured*."""

    network: str
    version: str
    parse_seconds: float
    build_seconds: float
    engine_bytes: int
    peak_bytes: int


def is_installed() -> bool:
    """Whether the bindings and the libraries are here; neither is imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("tensorrt_rtx_libs", "tensorrt_rtx_bindings"))


def require_installed() -> None:
    """Raise ``MissingPackageError`` where they are not."""
    if not is_installed():
        raise MissingPackageError("TensorRT-RTX", extra="tensorrt-rtx", purpose="the parser check")


def estimate_memory(weight_bytes: int) -> int:
    """Bytes that a build is expected to need at its peak."""
    return int(MEMORY_FACTOR * weight_bytes) + 500_000_000


def check_network(graph: Path, *, timeout: float = 1800.0) -> ParserReport:
    """Parse and build one ONNX file.

    Raises:
        GraphError: the parser or the builder refuses it; names the node where it can.
    """
    command = [sys.executable, "-m", __name__, str(graph)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise GraphError(f"{graph}: TensorRT-RTX took more than {timeout:.0f} s") from error
    lines = result.stdout.strip().splitlines()
    if result.returncode != 0 or not lines:
        errors = [line for line in result.stderr.splitlines() if line.strip()] or [f"exit code {result.returncode}"]
        raise GraphError(f"{graph}: TensorRT-RTX refuses it: {errors[-1][:400]}")
    return ParserReport(**json.loads(lines[-1]))


def parse_and_build(graph: Path) -> ParserReport:
    """The same within this process.

    Raises:
        GraphError: the parser or the builder refuses the graph.
    """
    import resource

    import tensorrt_rtx_libs  # noqa: F401  - loads the shared libraries that the bindings look for
    import tensorrt_rtx_bindings as trt  # isort: skip

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    start = time.perf_counter()
    if not parser.parse_from_file(str(graph)):
        details = [parser.get_error(i) for i in range(parser.num_errors)]
        raise GraphError("; ".join(f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in details[:3]))
    parsed = time.perf_counter()
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    if engine is None:
        raise GraphError("the builder gave no engine")
    return ParserReport(
        network=graph.stem,
        version=trt.__version__,
        parse_seconds=round(parsed - start, 2),
        build_seconds=round(time.perf_counter() - parsed, 2),
        engine_bytes=engine.nbytes,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _main() -> int:
    try:
        report = parse_and_build(Path(sys.argv[1]))
    except GraphError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
